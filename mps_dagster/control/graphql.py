"""Client for Dagster's GraphQL, the only access of this package to a running Dagster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests
import yaml

from mps_dagster.control import tags
from mps_dagster.control.causes import in_words
from mps_dagster.control.steps import KINDS, StepEvent
from mps_dagster.control.task_run import StoredRun
from mps_dagster.errors import InvalidInput, MpsError

LOCATION_NAME = "mps_dagster"
"""Of the code, in workspace files."""
LOCATION = {"repositoryLocationName": LOCATION_NAME, "repositoryName": "__repository__"}
UNREACHABLE = "DagsterUserCodeUnreachableError"
TIMEOUT_S = 60
STARTING_S = 20.0
"""How long an abort waits for a run to begin; that takes 2 s, or more on a busy machine."""
PASSING = ("NOT_STARTED", "STARTING")
"""Statuses that a run leaves by itself, and in which Dagster does not end it."""


class DagsterUnreachable(MpsError):
    """No Dagster webserver answers, or it does not reach the code server."""

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
  runsOrError(filter: {{tags: [{{key: "{tags.ROOT_RUN}", value: $id}}]}}, limit: 1) {{
    ... on Runs {{ results {{ {_RUN} runConfigYaml }} }} ... on PythonError {{ message }} }}
  runOrError(runId: $root) {{ __typename ... on Run {{ {_RUN} runConfigYaml }} }} }}"""
_RETRIED = f"""{{ runTagsOrError(tagKeys: ["{tags.ROOT_RUN}"]) {{
  ... on RunTags {{ tags {{ values }} }} ... on PythonError {{ message }} }} }}"""
_RETRY = f"""r%d: runsOrError(filter: {{tags: [{{key: "{tags.ROOT_RUN}", value: "%s"}}]}}, limit: 1) {{
  ... on Runs {{ results {{ runId }} }} }}"""
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
        self, job: str, config: Mapping[str, Any], run_tags: Mapping[str, str], only: Sequence[str] | None = None
    ) -> str:
        """Launch a run, of these ops only or of all; return its id."""
        params = {
            "selector": {**LOCATION, "pipelineName": job, "solidSelection": only},
            "runConfigData": json.dumps(config),
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in run_tags.items()]},
        }
        reply = self.ask(_LAUNCH, params=params)["launchRun"]
        # Of an error in planning a part of the job, only the message is left.
        if UNREACHABLE in reply.get("message", ""):
            raise DagsterUnreachable(
                "Dagster does not reach the process with the project's code", hint="try again soon"
            )
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
        """Have the daemon and the UI reload the project's files."""
        reply = self.ask(_RELOAD, location=LOCATION_NAME)["reloadRepositoryLocation"]
        problem = (reply.get("locationOrLoadError") or reply).get("message")
        if problem:
            raise MpsError(f"Dagster cannot load the project: {problem}", hint="mps workflows validate")

    def reset_sensor(self, name: str) -> None:
        """Return a sensor to its definition's default status; a stop in the UI overrides that until then."""
        reply = self.ask(_RESET_SENSOR, sensor={**LOCATION, "sensorName": name})["resetSensor"]
        if reply["__typename"] != "Sensor":
            raise MpsError(f"Dagster did not start {name}: {reply.get('message', reply['__typename'])}")

    def reaches_code(self) -> bool:
        """Whether the process with the project's code answers; true also if it is slow, or refuses the project."""
        entries = self.ask(_CODE)["workspaceOrError"].get("locationEntries", [])
        errors = [entry["locationOrLoadError"] or {} for entry in entries]
        return not any(
            error.get("className") == UNREACHABLE and "timed out" not in error["message"] for error in errors
        )

    def newest_of(self, root_run_id: str) -> StoredRun | None:
        """The newest run of a task (the root run, or its latest retry), with its config."""
        family = self.ask(_FAMILY, id=root_run_id, root=root_run_id)
        retries: list[dict[str, Any]] = family["runsOrError"].get("results", [])
        root: dict[str, Any] = family["runOrError"]
        newest = next(iter(retries), root if root["__typename"] == "Run" else None)
        return _stored(newest) if newest else None

    def without_retried(self, runs: Sequence[StoredRun]) -> list[StoredRun]:
        """Those of the runs that were not retried, as a task has the state of its newest run."""
        retried = sorted(self._retried() & {run.root_run_id for run in runs}) if runs else []
        # Dagster's filter accepts one value per tag, hence one query each.
        queries = [_RETRY % numbered for numbered in enumerate(retried)]
        reply = self.ask("{ " + " ".join(queries) + " }") if queries else {}
        newest = {root: run["runId"] for number, root in enumerate(retried) for run in reply[f"r{number}"]["results"]}
        return [run for run in runs if newest.get(run.root_run_id, run.run_id) == run.run_id]

    def _retried(self) -> set[str]:
        """The ids of root runs that were retried."""
        return {value for tag in self.ask(_RETRIED)["runTagsOrError"]["tags"] for value in tag["values"]}

    def runs(self, query: Mapping[str, Any], *, limit: int, cursor: str | None = None) -> list[StoredRun]:
        """Newest first; `query` is GraphQL's RunsFilter, with `tags` by their names."""
        reply = self.ask(_MANY, filter=_runs_filter(query), limit=limit, cursor=cursor)["runsOrError"]
        return [_stored(run) for run in reply["results"]]

    def count(self, query: Mapping[str, Any]) -> int:
        """How many runs there are; `query` as for `runs`."""
        reply = self.ask(_COUNT, filter=_runs_filter(query))["runsOrError"]
        return int(reply["count"])

    def terminate(self, run_id: str) -> None:
        """End a run. Dagster cannot end one that is just being queued or started, so wait until it is."""
        deadline = time.monotonic() + STARTING_S
        while True:
            reply = self.ask(_TERMINATE, id=run_id)["terminateRun"]
            if reply["__typename"] == "TerminateRunSuccess":
                return
            if (reply.get("run") or {}).get("status") not in PASSING or time.monotonic() > deadline:
                raise InvalidInput(f"run {run_id} was not ended: {reply.get('message', reply['__typename'])}")
            time.sleep(0.2)

    def events(self, run_id: str) -> Iterator[StepEvent]:
        """What Dagster logged about the run and its steps, in order."""
        cursor: str | None = None
        while True:
            page = self.ask(_LOGS, id=run_id, cursor=cursor)["logsForRun"]
            if page["__typename"] != "EventConnection":
                raise MpsError(f"Dagster could not read the events of run {run_id}: {page.get('message')}")
            for event in page["events"]:
                if str(event.get("eventType", "")) in KINDS:
                    yield _step_event(event)
            if not page["hasMore"]:
                return
            cursor = page["cursor"]


def _runs_filter(query: Mapping[str, Any]) -> dict[str, Any]:
    return {**query, "tags": [{"key": key, "value": value} for key, value in query.get("tags", {}).items()]}


def _stored(run: Mapping[str, Any]) -> StoredRun:
    return StoredRun(
        run_id=run["runId"], root_run_id=run["rootRunId"] or run["runId"], job=run["jobName"], status=run["status"],
        created_s=run["creationTime"], started_s=run["startTime"], ended_s=run["endTime"],
        tags={tag["key"]: tag["value"] for tag in run["tags"]},
        assets=tuple(tuple(key["path"]) for key in run["assetSelection"] or ()),
        config=yaml.safe_load(run["runConfigYaml"]) if run.get("runConfigYaml") else {},
    )  # fmt: skip


def _step_event(event: Mapping[str, Any]) -> StepEvent:
    entries = event.get("metadataEntries") or (event.get("failureMetadata") or {}).get("metadataEntries") or []
    error = event.get("error") or {}
    messages = [link["message"] for link in (error, *error.get("causes", ())) if link]
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
