"""Dagster's GraphQL: the only way from here to a running Dagster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from mps_dagster.control.causes import in_words
from mps_dagster.control.steps import StepEvent, cause_of, steps_of
from mps_dagster.control.task_run import RunRecord
from mps_dagster.errors import InvalidInput, MpsError
from mps_dagster.workflow.naming import object_key

LOCATION = {"repositoryLocationName": "mps_dagster", "repositoryName": "__repository__"}
TIMEOUT_S = 60
STARTING_S = 20.0
"""How long an abort waits for a run to begin; that takes 2 s, or more on a busy machine."""


class DagsterUnreachable(MpsError):
    """No Dagster webserver answers."""

    retryable = True


class LaunchRefused(InvalidInput):
    """Dagster did not accept a run."""


_STEP_EVENTS = """
  __typename
  ... on MessageEvent { timestamp eventType }
  ... on StepEvent { stepKey }
  ... on EngineEvent { message }
  ... on RunFailureEvent { message }
  ... on ExecutionStepOutputEvent { metadataEntries { ...entry } }
  ... on ExecutionStepFailureEvent { error { message causes { message } } failureMetadata { metadataEntries { ...entry } } }
"""
_ENTRY = """
fragment entry on MetadataEntry {
  label
  ... on JsonMetadataEntry { jsonString }
  ... on TextMetadataEntry { text }
  ... on IntMetadataEntry { intValue }
}
"""
_RUN = "runId rootRunId jobName status creationTime startTime endTime assetSelection { path } tags { key value }"
_RUNS = f"{{ ... on Runs {{ results {{ {_RUN} }} }} ... on PythonError {{ message }} }}"
_FAMILY = f"""query($id: String!, $root: ID!) {{
  runsOrError(filter: {{tags: [{{key: "dagster/root_run_id", value: $id}}]}}, limit: 1) {{
    ... on Runs {{ results {{ {_RUN} runConfigYaml }} }} ... on PythonError {{ message }} }}
  runOrError(runId: $root) {{ __typename ... on Run {{ {_RUN} runConfigYaml }} }} }}"""
_RETRIED = """{ runTagsOrError(tagKeys: ["dagster/root_run_id"]) {
  ... on RunTags { tags { values } } ... on PythonError { message } } }"""
_RETRY = """r%d: runsOrError(filter: {tags: [{key: "dagster/root_run_id", value: "%s"}]}, limit: 1) {
  ... on Runs { results { runId } } }"""
_MANY = f"""query($filter: RunsFilter, $limit: Int!, $cursor: String) {{
  runsOrError(filter: $filter, limit: $limit, cursor: $cursor) {_RUNS} }}"""
_COUNT = "query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { count } } }"
_LOGS = f"""query($id: ID!, $cursor: String) {{
  logsForRun(runId: $id, afterCursor: $cursor, limit: 1000) {{ __typename
  ... on EventConnection {{ cursor hasMore events {{ {_STEP_EVENTS} }} }} ... on PythonError {{ message }} }} }} {_ENTRY}"""
_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on PythonError { message } ... on PipelineNotFoundError { message } ... on InvalidSubsetError { message } } }"""
_BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } ... on UnauthorizedError { message }
  ... on PartitionKeysNotFoundError { message } ... on InvalidSubsetError { message } } }"""
_RELOAD = """mutation($location: String!) { reloadRepositoryLocation(repositoryLocationName: $location) { __typename
  ... on WorkspaceLocationEntry { locationOrLoadError { ... on PythonError { message } } }
  ... on PythonError { message } ... on UnauthorizedError { message } ... on ReloadNotSupported { message }
  ... on RepositoryLocationNotFound { message } } }"""
_RESET_SENSOR = """mutation($sensor: SensorSelector!) { resetSensor(sensorSelector: $sensor) { __typename
  ... on PythonError { message } ... on UnauthorizedError { message } ... on SensorNotFoundError { message } } }"""
_CODE = """{ workspaceOrError { ... on Workspace { locationEntries {
  locationOrLoadError { ... on PythonError { className message } } } } } }"""
_ADD_PARTITION = """mutation($key: String!, $name: String!, $repository: RepositorySelector!) {
  addDynamicPartition(partitionKey: $key, partitionsDefName: $name, repositorySelector: $repository) { __typename
  ... on PythonError { message } ... on UnauthorizedError { message } } }"""
_TERMINATE = """mutation($id: String!) { terminateRun(runId: $id) { __typename
  ... on TerminateRunFailure { message run { status } } ... on RunNotFoundError { message } ... on PythonError { message } } }"""


@dataclass(frozen=True, slots=True)
class Dagster:
    """One webserver."""

    url: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        try:
            reply = requests.post(
                f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=TIMEOUT_S
            ).json()
        except (requests.RequestException, ValueError) as error:
            raise DagsterUnreachable(
                f"no Dagster answers at {self.url} ({type(error).__name__})", hint="start it with `mps up`"
            ) from error
        if reply.get("errors"):
            raise MpsError(f"Dagster refused a query: {reply['errors'][0].get('message')}")
        data: dict[str, Any] = reply["data"]
        return data

    def launch(
        self, job: str, run_config: Mapping[str, Any], tags: Mapping[str, str], only: Sequence[str] | None = None
    ) -> str:
        """Launch a run, of these ops only or of all; return its id."""
        params = {
            "selector": {**LOCATION, "pipelineName": job, "solidSelection": only},
            "runConfigData": json.dumps(run_config),
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        reply = self.ask(_LAUNCH, params=params)["launchRun"]
        if reply["__typename"] != "LaunchRunSuccess":
            problems = [error["message"] for error in reply.get("errors", [])] or [
                reply.get("message", reply["__typename"])
            ]
            raise LaunchRefused(f"Dagster did not launch {job}: {'; '.join(problems)}", hint="mps workflows validate")
        run_id: str = reply["run"]["runId"]
        return run_id

    def add_partition(self, partitions: str, key: str) -> None:
        reply = self.ask(_ADD_PARTITION, key=key, name=partitions, repository=LOCATION)["addDynamicPartition"]
        if reply["__typename"] not in ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"):
            raise LaunchRefused(
                f"Dagster did not add {key!r} to {partitions}: {reply.get('message', reply['__typename'])}"
            )

    def reload(self) -> None:
        """Have the daemon and the UI read the project's files anew."""
        reply = self.ask(_RELOAD, location=LOCATION["repositoryLocationName"])["reloadRepositoryLocation"]
        problem = (reply.get("locationOrLoadError") or reply).get("message")
        if problem:
            raise MpsError(f"Dagster cannot load the project: {problem}", hint="mps workflows validate")

    def reset_sensor(self, name: str) -> None:
        """Have it run or not as its definition says. A stop in the UI holds until then, whatever becomes of the definition."""
        reply = self.ask(_RESET_SENSOR, sensor={**LOCATION, "sensorName": name})["resetSensor"]
        if reply["__typename"] != "Sensor":
            raise MpsError(f"Dagster did not start {name}: {reply.get('message', reply['__typename'])}")

    def reaches_code(self) -> bool:
        """Whether the process that holds the project's code is there: also when it is slow, or refuses the project."""
        entries = self.ask(_CODE)["workspaceOrError"].get("locationEntries", [])
        errors = [entry["locationOrLoadError"] or {} for entry in entries]
        return not any(
            error.get("className") == "DagsterUserCodeUnreachableError" and "timed out" not in error["message"]
            for error in errors
        )

    def backfill(
        self, assets: Sequence[Sequence[str]], partitions: Sequence[str], title: str, tags: Mapping[str, str]
    ) -> str:
        """Launch a backfill of these assets' partitions; return its id."""
        params = {
            "assetSelection": [{"path": list(path)} for path in assets],
            "partitionNames": list(partitions),
            "title": title,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        reply = self.ask(_BACKFILL, params=params)["launchPartitionBackfill"]
        if reply["__typename"] != "LaunchBackfillSuccess":
            raise LaunchRefused(f"Dagster did not launch {title}: {reply.get('message', reply['__typename'])}")
        backfill: str = reply["backfillId"]
        return backfill

    def newest_of(self, root_run_id: str) -> dict[str, Any] | None:
        """The newest run of a task (the root run, or its latest retry), with its config."""
        family = self.ask(_FAMILY, id=root_run_id, root=root_run_id)
        retries: list[dict[str, Any]] = family["runsOrError"].get("results", [])
        root: dict[str, Any] = family["runOrError"]
        return next(iter(retries), root if root["__typename"] == "Run" else None)

    def without_retried(self, runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """These runs but for those whose task was run again since: a task is what its newest run is."""
        roots = {run["runId"]: run["rootRunId"] or run["runId"] for run in runs}
        retried = sorted(self._retried() & set(roots.values())) if roots else []
        # Dagster's filter takes one value of a tag, hence one question for each.
        asked = [_RETRY % numbered for numbered in enumerate(retried)]
        reply = self.ask("{ " + " ".join(asked) + " }") if asked else {}
        newest = {root: run["runId"] for number, root in enumerate(retried) for run in reply[f"r{number}"]["results"]}
        return [run for run in runs if newest.get(roots[run["runId"]], run["runId"]) == run["runId"]]

    def _retried(self) -> set[str]:
        """The root runs of all retries that there are."""
        found = self.ask(_RETRIED)["runTagsOrError"]["tags"]
        return {value for tag in found for value in tag["values"]}

    def runs(self, wanted: Mapping[str, Any], *, limit: int, cursor: str | None = None) -> list[dict[str, Any]]:
        """Newest first; `wanted` is GraphQL's RunsFilter."""
        reply = self.ask(_MANY, filter=dict(wanted), limit=limit, cursor=cursor)["runsOrError"]
        results: list[dict[str, Any]] = reply["results"]
        return results

    def count(self, wanted: Mapping[str, Any]) -> int:
        """How many runs there are; `wanted` as for `runs`."""
        reply = self.ask(_COUNT, filter=dict(wanted))["runsOrError"]
        return int(reply["count"])

    def record(self, run: Mapping[str, Any], *, steps: bool = True) -> RunRecord:
        """A run as it is recorded; without its steps, one query less."""
        tags = tags_of(run)
        # "Materialize" in the UI sets no tag of ours: the assets say whose they are, the partition what it was made of.
        assets = [key["path"][0] for key in run["assetSelection"] or ()]
        events = list(self._events(run["runId"])) if steps else []
        return RunRecord(
            run_id=run["runId"],
            root_run_id=run["rootRunId"] or run["runId"],
            workflow=tags.get("mps/workflow") or next(iter(assets), run["jobName"]),
            job=run["jobName"],
            status=run["status"],
            created_s=run["creationTime"],
            started_s=run["startTime"],
            ended_s=run["endTime"],
            bucket=tags.get("mps/bucket", ""),
            key=tags.get("mps/key") or object_key(tags.get("dagster/partition", "")),
            priority=int(tags.get("dagster/priority", "0")),
            session_id=tags.get("mps/session_id", ""),
            session_context=tags.get("mps/session_context", ""),
            url=tags.get("mps/url", ""),
            steps=steps_of(events),
            cause=cause_of(events),
        )

    def terminate(self, run_id: str) -> None:
        """End a run. Dagster ends none that is just being started, so its begin is waited for."""
        deadline = time.monotonic() + STARTING_S
        while True:
            reply = self.ask(_TERMINATE, id=run_id)["terminateRun"]
            if reply["__typename"] == "TerminateRunSuccess":
                return
            if (reply.get("run") or {}).get("status") != "STARTING" or time.monotonic() > deadline:
                raise InvalidInput(f"run {run_id} was not ended: {reply.get('message', reply['__typename'])}")
            time.sleep(0.2)

    def _events(self, run_id: str) -> Iterator[StepEvent]:
        cursor: str | None = None
        while True:
            page = self.ask(_LOGS, id=run_id, cursor=cursor)["logsForRun"]
            if page["__typename"] != "EventConnection":
                raise MpsError(f"Dagster could not read the events of run {run_id}: {page.get('message')}")
            for event in page["events"]:
                if str(event.get("eventType", "")) in _KINDS:
                    yield _step_event(event)
            if not page["hasMore"]:
                return
            cursor = page["cursor"]


def tags_of(run: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["tags"]}


_KINDS = frozenset({
    "STEP_START", "STEP_OUTPUT", "STEP_SUCCESS", "STEP_FAILURE", "STEP_RESTARTED", "STEP_UP_FOR_RETRY",
    "ENGINE_EVENT", "RUN_FAILURE",
})  # fmt: skip


def _step_event(event: Mapping[str, Any]) -> StepEvent:
    entries = event.get("metadataEntries") or (event.get("failureMetadata") or {}).get("metadataEntries") or []
    error = event.get("error") or {}
    messages = [found["message"] for found in (error, *error.get("causes", ())) if found]
    return StepEvent(
        step=event.get("stepKey") or "",
        kind=event["eventType"],
        at_s=int(event["timestamp"]) / 1000,
        metadata={entry["label"]: _value(entry) for entry in entries},
        error=event.get("message") or in_words(messages),
    )


def _value(entry: Mapping[str, Any]) -> Any:
    if "jsonString" in entry:
        return json.loads(entry["jsonString"])
    return entry.get("text", entry.get("intValue"))
