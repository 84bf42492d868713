"""Create, Describe, Modify, Enable, Disable and Delete schedules (reference C.4).

A schedule (orchestration) is a workflow here. Its tasks are the nodes of the graph: a node after a transcode has its output
as source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, create_model, field_validator
from pydantic.alias_generators import to_snake

from mps_dagster.api.action import Action, Call, NotOffered, Number, RequestModel
from mps_dagster.api.actions.definition_info import Info, common_info, output_infos
from mps_dagster.api.actions.definitions import Definitions, ListRequest, Trigger, place, sinks
from mps_dagster.api.actions.media_tasks import ENTRIES, MPS_TASKS, Entry, TaskNotifyConfig, documents
from mps_dagster.api.actions.storage import TaskOutputStorage, bucket_of, check_dir
from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import ApiKey
from mps_dagster.mps.storage_info import with_regions
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import Place, predecessor
from mps_dagster.workflow.naming import SCHEDULE
from mps_dagster.workflow.parse import Document
from mps_dagster.workflow.project import WorkflowFile

ACTIVITIES = {words.activity: (name, words.task) for name, words in MPS_TASKS.items()}
"""By MPS's node type, our task type and the member of ActivityPara with its parameters."""


class _RefusedTasks(RequestModel):
    adaptive_dynamic_streaming_task: NotOffered = None
    ai_content_review_task: NotOffered = None
    ai_analysis_task: NotOffered = None
    ai_recognition_task: NotOffered = None
    exec_rules_task: NotOffered = None
    smart_subtitles_task: NotOffered = None
    smart_erase_task: NotOffered = None
    ai_dubbing_task: NotOffered = Field(None, alias="AIDubbingTask")


_TASKS: Any = {to_snake(MPS_TASKS[name].task): (entry | None, None) for name, entry in ENTRIES.items()}


class ActivityPara(create_model("_Tasks", __base__=_RefusedTasks, **_TASKS)):  # type: ignore[misc]
    """The parameters of a node, in the member of its type."""

    @property
    def outputs(self) -> dict[str, Entry]:
        """The members that are set, by MPS's names."""
        outputs = {member: getattr(self, to_snake(member)) for _, member in ACTIVITIES.values()}
        return {member: output for member, output in outputs.items() if output}


class Activity(RequestModel):
    activity_type: str
    reardrive_index: tuple[int, ...] = ()
    """Indexes of the nodes that follow."""
    predrive_index: tuple[int, ...] = ()
    activity_para: ActivityPara = ActivityPara()


class ScheduleParts(RequestModel):
    output_storage: TaskOutputStorage | None = None
    output_dir: str = Field("", max_length=1024)
    task_notify_config: TaskNotifyConfig | None = None
    resource_id: str = ""

    _dir = field_validator("output_dir")(check_dir)


class CreateScheduleRequest(ScheduleParts):
    schedule_name: str = Field(min_length=1, max_length=128)
    trigger: Trigger
    activities: tuple[Activity, ...] = Field(min_length=1, max_length=100)


class Named(RequestModel):
    schedule_id: Number


class ModifyScheduleRequest(ScheduleParts, Named):
    schedule_name: str = Field("", max_length=128)
    trigger: Trigger | None = None
    activities: tuple[Activity, ...] = Field((), max_length=100)


class DescribeSchedulesRequest(ListRequest):
    schedule_ids: tuple[int, ...] = Field((), max_length=100)
    trigger_type: Literal["", "CosFileUpload", "AwsS3FileUpload"] = ""


def schedule_actions(settings: Settings) -> dict[str, Action[Any]]:
    schedules = _Schedules(Definitions(settings, SCHEDULE))
    return {
        "CreateSchedule": Action(CreateScheduleRequest, schedules.create),
        "DescribeSchedules": Action(DescribeSchedulesRequest, schedules.describe),
        "ModifySchedule": Action(ModifyScheduleRequest, schedules.modify),
        **schedules.definitions.actions("Schedule", Named),
    }


@dataclass(frozen=True)
class _Schedules:
    definitions: Definitions

    def create(self, call: Call[CreateScheduleRequest]) -> dict[str, Any]:
        request, settings = call.request, self.definitions.settings
        trigger = request.trigger.document(settings)
        bucket = bucket_of(request.output_storage, settings) or trigger["bucket"]
        document = {
            "title": request.schedule_name, "trigger": trigger, "output": place(bucket, request.output_dir),
            "notify": sinks(request.task_notify_config), "tasks": tasks_of(request.activities, call.key, settings),
        }  # fmt: skip
        return {"ScheduleId": self.definitions.create(document, call.key)}

    def modify(self, call: Call[ModifyScheduleRequest]) -> dict[str, Any]:
        """Change what the request names; the graph is replaced as a whole."""
        self.definitions.replace(call.request.schedule_id, lambda before: self._changed(before, call), call.key)
        return {}

    def _changed(self, document: Document, call: Call[ModifyScheduleRequest]) -> Document:
        request, settings = call.request, self.definitions.settings
        changed = dict(document)
        if request.schedule_name:
            changed["title"] = request.schedule_name
        if request.trigger:
            changed["trigger"] = request.trigger.document(settings)
        before = Place.model_validate(document["output"])
        bucket = bucket_of(request.output_storage, settings) or before.bucket
        directory = request.output_dir if "output_dir" in request.model_fields_set else before.dir
        changed["output"] = place(bucket, directory)
        if request.task_notify_config:
            changed["notify"] = sinks(request.task_notify_config)
        if request.activities:
            changed["tasks"] = tasks_of(request.activities, call.key, settings)
        return changed

    def describe(self, call: Call[DescribeSchedulesRequest]) -> dict[str, Any]:
        request = call.request
        total, page = self.definitions.find(request.schedule_ids, request, call.key, request.trigger_type)
        answer = {"TotalCount": total, "ScheduleInfoSet": [_info(file) for file in page]}
        return with_regions(answer, self.definitions.settings)


def tasks_of(activities: tuple[Activity, ...], key: ApiKey, settings: Settings) -> Document:
    """Convert the nodes between `input` and `output` to tasks, named by their index."""
    upstreams: dict[int, int] = {}
    for number, node in enumerate(activities):
        for following in node.reardrive_index:
            if not 0 <= following < len(activities):
                raise _wrong(number, f"ReardriveIndex names {following}, and there are {len(activities)} activities")
            if activities[following].activity_type != "output" and upstreams.setdefault(following, number) != number:
                raise _wrong(following, "it follows two others")
    tasks: Document = {}
    for number, node in enumerate(activities):
        if node.activity_type in ("input", "output"):
            if node.activity_para.outputs:
                raise _wrong(number, f"{node.activity_type} takes no ActivityPara")
            continue
        kind, output = _output(number, node, key, settings)
        upstream = upstreams.get(number)
        if upstream is None:
            raise _wrong(number, "nothing leads to it")
        source = {} if activities[upstream].activity_type == "input" else {"source": f"t{upstream}"}
        tasks[f"t{number}"] = {"type": kind, **source, "outputs": [output]}
    if not tasks:
        raise ApiError("InvalidParameterValue", "Activities has nothing to do.")
    return tasks


def _output(number: int, node: Activity, key: ApiKey, settings: Settings) -> tuple[str, Document]:
    if node.activity_type not in ACTIVITIES:
        raise ApiError("UnsupportedOperation", f"An activity of type {node.activity_type} is not offered here.")
    kind, member = ACTIVITIES[node.activity_type]
    outputs = node.activity_para.outputs
    if member not in outputs:
        raise _wrong(number, f"it has no ActivityPara.{member}")
    if len(outputs) > 1:
        raise _wrong(number, f"ActivityPara has {' and '.join(outputs)}, and {node.activity_type} takes {member} only")
    return kind, documents(kind, [outputs[member]], key, settings)[0]


def _wrong(number: int, problem: str) -> ApiError:
    return ApiError("InvalidParameterValue", f"Activities.{number}: {problem}.")


def _info(file: WorkflowFile) -> Info:
    workflow = file.workflow
    return {
        "ScheduleId": file.number, "ScheduleName": workflow.title or workflow.name, "Activities": _activities(file),
        **common_info(file), "ResourceId": "",
    }  # fmt: skip


def _activities(file: WorkflowFile) -> list[Info]:
    """The tasks as MPS's graph: `input` first, then the tasks that MPS has, `output` last."""
    tasks = [task for task in file.workflow.tasks.values() if task.type in MPS_TASKS]
    places = {task.name: number for number, task in enumerate(tasks, start=1)}
    last = len(tasks) + 1
    followers: dict[int, list[int]] = {number: [] for number in range(last)}
    for task in tasks:
        followers[places.get(predecessor(task, file.workflow.tasks), 0)].append(places[task.name])
    shown_tasks = [
        {
            "ActivityType": MPS_TASKS[task.type].activity,
            "ReardriveIndex": followers[places[task.name]] or [last],
            "ActivityPara": {MPS_TASKS[task.type].task: output_infos(file, task.name, ENTRIES[task.type])[0]},
        }
        for task in tasks
    ]
    first = {"ActivityType": "input", "ReardriveIndex": followers[0]}
    return [first, *shown_tasks, {"ActivityType": "output"}]
