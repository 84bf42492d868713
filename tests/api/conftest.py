"""The API as its clients meet it: a real server, called with Tencent's own SDK."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import Field
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.mps.v20190612 import models
from tencentcloud.mps.v20190612.mps_client import MpsClient

from mps_dagster.api.action import Action, Call, NotOffered, RequestModel
from mps_dagster.api.error import ApiError
from mps_dagster.api.limits import RateLimits
from mps_dagster.api.server import create_server, create_service
from mps_dagster.api.service import Service
from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import DefinitionNotExist, StorageFailed
from mps_dagster.settings import Settings

SECRET_ID = "AKIDtest"
SECRET_KEY = "a key that nobody guesses"

Clients = Callable[..., MpsClient]


class Override(RequestModel):
    container: str = ""


class Transcode(RequestModel):
    definition: int = Field(ge=0)
    start_time_offset: float = 0.0
    override_parameter: Override | None = None


class Request(RequestModel):
    """Some of ProcessMedia's parameters, in all the types there are."""

    output_dir: str = ""
    transcode_task_set: tuple[Transcode, ...] = ()
    ext_time_offset_set: tuple[str, ...] = ()
    session_id: str | None = None
    tasks_priority: int = Field(0, ge=-10, le=10)
    enabled: bool = False
    ai_analysis_task: NotOffered = None


class TaskRequest(RequestModel):
    task_id: str


PROBLEMS: Mapping[str, Callable[[], Any]] = {
    "told": lambda: ApiError("ResourceNotFound.TaskNotFound", "There is no such task."),
    "input": lambda: DefinitionNotExist("there is no template 7", hint="mps templates"),
    "storage": lambda: StorageFailed("the bucket is away"),
    "bug": lambda: RuntimeError("the secret of the house"),
    "unwritable": lambda: object(),
    "not a number": lambda: float("nan"),
}


def describe_task_detail(call: Call[TaskRequest]) -> dict[str, Any]:
    """Goes wrong as asked."""
    outcome = PROBLEMS[call.request.task_id]()
    if isinstance(outcome, Exception):
        raise outcome
    return {"Status": outcome}


class Receiver:
    """Two actions of MPS's, which keep what arrives."""

    def __init__(self) -> None:
        self.calls: list[Call[Any]] = []
        self.actions = {
            "ProcessMedia": Action(Request, self._process_media),
            "DescribeTaskDetail": Action(TaskRequest, describe_task_detail),
        }

    def _process_media(self, call: Call[Request]) -> dict[str, Any]:
        self.calls.append(call)
        return {"TaskId": "task-\ud800"}


def answer_to(client: MpsClient, action: str, parameters: Mapping[str, object]) -> dict[str, Any]:
    """By way of the SDK's own models of both."""
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps(parameters))
    return json.loads(getattr(client, action)(request).to_json_string())


@contextlib.contextmanager
def serving(settings: Settings, service: Service) -> Iterator[str]:
    """Host and port."""
    server = create_server(settings, service)
    server.config.port = 0
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        # Nobody waits for its end: that takes uvicorn 0.2 s, and each of hundreds of tests has a server.
        server.should_exit = True


@pytest.fixture(scope="session")
def api_settings(tmp_path_factory) -> Settings:
    home = tmp_path_factory.mktemp("api")
    return Settings(project=home, home=home, api={"secret_id": SECRET_ID, "secret_key": SECRET_KEY})


@pytest.fixture(scope="session")
def service(api_settings) -> Service:
    """As it is started, without limits of the rate."""
    return replace(create_service(api_settings), limits=RateLimits({"*": 1e6}))


@pytest.fixture(scope="session")
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture(scope="session")
def address(api_settings, service, receiver) -> Iterator[str]:
    with serving(api_settings, replace(service, actions=service.actions | receiver.actions)) as address:
        yield address


@pytest.fixture
def client_to() -> Iterator[Clients]:
    """Makes clients; closes their connections, which the SDK leaves open."""
    with contextlib.ExitStack() as stack:

        def client(
            address: str, *, method: str = "POST", sign: str = "TC3-HMAC-SHA256", unsigned: bool = False,
            secret_id: str = SECRET_ID, secret_key: str = SECRET_KEY, token: str | None = None,
        ) -> MpsClient:  # fmt: skip
            profile = ClientProfile(sign, HttpProfile(protocol="http", endpoint=address, reqMethod=method))
            profile.unsignedPayload = unsigned
            api_client = MpsClient(Credential(secret_id, secret_key, token), "ap-guangzhou", profile)
            stack.callback(api_client.request.conn._session.close)
            return api_client

        yield client


@pytest.fixture
def client(client_to, address) -> MpsClient:
    return client_to(address)


@pytest.fixture
def settings(tmp_path) -> Settings:
    """A deployment of the test's own, with one key that may do everything."""
    api = {"secret_id": SECRET_ID, "secret_key": SECRET_KEY}
    return Settings(project=tmp_path, home=tmp_path / "home", api=api, s3={"region": "us-east-1"})


@pytest.fixture
def reloads(monkeypatch) -> list[int]:
    """How often Dagster was asked to reload the files; tests/cli has a real one."""
    told: list[int] = []
    monkeypatch.setattr(Dagster, "reload", lambda _: told.append(1))
    monkeypatch.setattr(Dagster, "reset_sensor", lambda *_: None)
    return told


@pytest.fixture
def call(settings, client_to, reloads) -> Iterator[Callable[..., dict[str, Any]]]:
    """An action of that deployment's API, called with the SDK."""
    service = replace(create_service(settings), limits=RateLimits({"*": 1e6}))
    with serving(settings, service) as address:
        client = client_to(address)

        def call(action: str, **parameters: object) -> dict[str, Any]:
            return answer_to(client, action, parameters)

        yield call


@pytest.fixture
def deployed(settings, client_to, reloads) -> Iterator[Callable[[str], Callable[..., dict[str, Any]]]]:
    """Of a file of keys makes a deployment: an action of its API, called by one of them, as `call(who, action, …)`."""
    with contextlib.ExitStack() as stack:

        def deployed(keys: str) -> Callable[..., dict[str, Any]]:
            settings.home.mkdir(parents=True)
            settings.api_keys_path.touch(mode=0o600)
            settings.api_keys_path.write_text(keys)
            address = stack.enter_context(serving(settings, create_service(settings)))

            def call(who: str, action: str, **parameters: object) -> dict[str, Any]:
                client = client_to(address, secret_id=who, secret_key="a key of sixteen characters")
                return answer_to(client, action, parameters)

            return call

        yield deployed
