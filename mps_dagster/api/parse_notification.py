"""ParseNotification (reference E.3): parses the text of an event notification into the SDKs' members."""

from __future__ import annotations

from typing import Any

from mps_dagster.api.action import Action, Call, RequestModel
from mps_dagster.api.error import ApiError
from mps_dagster.api.wire import read_json

EVENTS = {
    "WorkflowTask": "WorkflowTaskEvent",
    "EditMediaTask": "EditMediaTaskEvent",
    "ScheduleTask": "ScheduleTaskEvent",
    "BatchTask": "BatchTaskEvent",
    "ExtractBlindWatermark": "ExtractBlindWatermarkTask",
}
"""EventType and the member that has the event."""


class ParseNotificationRequest(RequestModel):
    content: str
    """The body of a queue message or of a request to a NotifyUrl."""


def parse_notification(call: Call[ParseNotificationRequest]) -> dict[str, Any]:
    """Parse the text alone; a signature in it is passed on for the receiver to check."""
    try:
        body = read_json(call.request.content)
    except ValueError as error:
        raise _invalid(f"it is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise _invalid("it is not a JSON object")
    kind = body.get("EventType")
    if not isinstance(kind, str) or kind not in EVENTS:
        raise _invalid(f"EventType is none of {', '.join(EVENTS)}")
    member = EVENTS[kind]
    if not isinstance(body.get(member), dict):
        raise _invalid(f"it has no object {member}")
    return {
        "EventType": kind,
        **dict.fromkeys(EVENTS.values()),
        member: body[member],
        "SessionId": body.get("SessionId") or "", "SessionContext": body.get("SessionContext") or "",
        "Timestamp": body.get("Timestamp"), "Sign": body.get("Sign"),
    }  # fmt: skip


def _invalid(problem: str) -> ApiError:
    return ApiError("InvalidParameterValue.InvalidContent", f"Content is no event notification: {problem}.")


PARSE_NOTIFICATION = Action(ParseNotificationRequest, parse_notification)
