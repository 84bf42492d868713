"""Requests of the task actions (reference A.1, B, F)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from mps_dagster.api.action import NotOffered, Number, RequestModel
from mps_dagster.api.actions.media_tasks import TaskMembers, TaskNotifyConfig
from mps_dagster.api.actions.storage import MediaInputInfo, TaskOutputStorage, check_dir


class ProcessMediaRequest(TaskMembers):
    input_info: MediaInputInfo
    output_storage: TaskOutputStorage | None = None
    output_dir: str = Field("", max_length=1024)
    schedule_id: Number | None = None
    ai_content_review_task: NotOffered = None
    ai_analysis_task: NotOffered = None
    ai_recognition_task: NotOffered = None
    smart_subtitles_task: NotOffered = None
    smart_erase_task: NotOffered = None
    ai_dubbing_task: NotOffered = Field(None, alias="AIDubbingTask")
    task_notify_config: TaskNotifyConfig | None = None
    tasks_priority: int = Field(0, ge=-10, le=10)
    session_id: str = ""
    session_context: str = ""
    task_type: Literal["", "Online", "Offline"] = ""
    resource_id: str = ""
    activities: NotOffered = None
    skip_mate_data: int = 0

    _dir = field_validator("output_dir")(check_dir)

    @field_validator("session_id")
    @classmethod
    def _short_id(cls, text: str) -> str:
        if len(text) > 50:
            raise PydanticCustomError("InvalidParameterValue.SessionIdTooLong", "it is longer than 50 characters")
        return text

    @field_validator("session_context")
    @classmethod
    def _short_context(cls, text: str) -> str:
        if len(text) > 1000:
            raise PydanticCustomError(
                "InvalidParameterValue.SessionContextTooLong", "it is longer than 1000 characters"
            )
        return text


class TaskRequest(RequestModel):
    task_id: str


class ManageTaskRequest(RequestModel):
    operation_type: str
    task_id: str


def _in_utc(moment: datetime) -> datetime:
    """MPS's times are in UTC, also those without a zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]

UsageType = Literal[
    "Transcode", "Enhance", "AIAnalysis", "AIRecognition", "AIReview", "Snapshot", "AnimatedGraphics", "AiQualityControl",
    "Evaluation", "ImageProcess", "AddBlindWatermark", "AddNagraWatermark", "ExtractBlindWatermark", "AIGCVideo", "AIGCImage",
]  # fmt: skip
"""MPS's; of those that are not offered here, nothing was used."""


class DescribeTasksRequest(RequestModel):
    status: Literal["WAITING", "PROCESSING", "FINISH"]
    sub_task_has_failed: bool | None = None
    limit: int = 10
    scroll_token: str = ""
    start_time: Moment | None = None
    end_time: Moment | None = None

    @field_validator("limit")
    @classmethod
    def _in_range(cls, limit: int) -> int:
        if not 1 <= limit <= 100:
            raise PydanticCustomError("InvalidParameterValue.Limit", "it is 1 to 100")
        return limit


class DescribeUsageDataRequest(RequestModel):
    start_time: Moment
    end_time: Moment
    types: tuple[UsageType, ...] = ("Transcode",)
    process_regions: tuple[str, ...] = ()
    """All that is processed here is in one region."""


class DescribeMediaMetaDataRequest(RequestModel):
    input_info: MediaInputInfo
    mode: str = ""
