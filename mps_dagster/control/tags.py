"""Tags of Dagster runs: ours, which describe the task, and those of Dagster that we set or read."""

from __future__ import annotations

from mps_dagster.workflow.model import Workflow

WORKFLOW = "mps/workflow"
BUCKET = "mps/bucket"
KEY = "mps/key"
REVISION = "mps/revision"
"""The workflow's revision when the run was launched."""
TYPES = "mps/types"
"""Task types of a ProcessMedia, separated by commas."""
ACCOUNT = "mps/account"
"""Owner of the API key that launched the run."""
URL = "mps/url"
"""The URL that the source was downloaded from."""
SESSION_ID = "mps/session_id"
SESSION_CONTEXT = "mps/session_context"
NOTIFY = "mps/notify"
"""TaskNotifyConfig of a request, as queries show it."""
PLANS = "mps/plans"
"""The workflow whose backfill a run plans."""

PAGE = "mps/page"
"""`bucket/key` of the source's page, once it tells of this run, or `NOT_WRITTEN`."""
NOT_WRITTEN = "not written"
"""A page's bucket failed; it is tried again."""
HOST = "mps/host"
"""Where a run of a cluster is executed; empty until it is there."""
ALSO_ON = "mps/also_on"
"""JSON list of other hosts that make chunks for a run, one entry for each core; "" for one that has yet to begin."""
DEMAND = ".dagster/mps_demand"
"""What a run asks its host for. The UI hides tags with this prefix."""

RETRY = "mps/retry"
"""Of a run that failed: whether its retry waits to be queued, is queued, or there is none."""
NOT_BEFORE = "mps/not_before"
"""When a retry may start, in Unix seconds."""
FIRST_RUN = "mps/first_run"
"""The run that retries repeat."""

PRIORITY = "dagster/priority"
PARTITION = "dagster/partition"
RUN_KEY = "dagster/run_key"
SENSOR = "dagster/sensor_name"
BACKFILL = "dagster/backfill"
ROOT_RUN = "dagster/root_run_id"
WILL_RETRY = "dagster/will_retry"
"""Of a run that failed."""
RETRIED_BY = "dagster/auto_retry_run_id"
RETRY_NUMBER = "dagster/retry_number"
"""Only automatic retries have it."""
MAX_RETRIES = "dagster/max_retries"
RETRY_STRATEGY = "dagster/retry_strategy"
RETRY_ON_STEP_FAILURE = "dagster/retry_on_asset_or_op_failure"
DATA_VERSION = "dagster/data_version"


def workflow_tags(workflow: Workflow, key: str = "", *, priority: int | None = None) -> dict[str, str]:
    """The tags of a run of the workflow; with `key`, also that of its upload."""
    return {
        WORKFLOW: workflow.name,
        BUCKET: workflow.trigger.bucket,
        REVISION: workflow.revision,
        PRIORITY: str(workflow.priority if priority is None else priority),
        **({KEY: key} if key else {}),
    }
