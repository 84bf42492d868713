"""Tencent's SDK for Node.js against the API, installed from the npm registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mps_dagster.api.limits import RateLimits
from mps_dagster.api.server import create_service
from mps_dagster.settings import Settings

from .conftest import SECRET_ID, SECRET_KEY, serving

pytestmark = pytest.mark.slow

NODE, NPM = shutil.which("node"), shutil.which("npm")
PACKAGE = "tencentcloud-sdk-nodejs-mps"
SCRIPT = """
const { mps } = require("tencentcloud-sdk-nodejs-mps");
const [endpoint, secretId, secretKey] = process.argv.slice(2);
const client = new mps.v20190612.Client({
  credential: { secretId, secretKey }, region: "ap-guangzhou",
  profile: { httpProfile: { endpoint, protocol: "http://" } },
});
(async () => {
  const made = await client.CreateSampleSnapshotTemplate({ Name: "节点", SampleType: "Percent", SampleInterval: 20 });
  const shown = await client.DescribeSampleSnapshotTemplates({ Definitions: [made.Definition] });
  await client.DeleteSampleSnapshotTemplate({ Definition: made.Definition });
  let code = "";
  try { await client.DeleteSampleSnapshotTemplate({ Definition: made.Definition }); } catch (error) { code = error.code; }
  console.log(JSON.stringify({ shown: shown.SampleSnapshotTemplateSet[0], code }));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    if not NODE or not NPM:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    command = [NPM, "install", "--no-audit", "--no-fund", "--silent", "--cache", str(folder / "cache"), PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    (folder / "script.js").write_text(SCRIPT)
    return folder


def test_the_sdk_for_node_works_unchanged(folder, tmp_path):
    """Another language's signature, names that are not ASCII, an error by its code."""
    settings = Settings(project=tmp_path, home=tmp_path, api={"secret_id": SECRET_ID, "secret_key": SECRET_KEY})
    with serving(settings, replace(create_service(settings), limits=RateLimits({"*": 1e6}))) as address:
        command = [NODE, "script.js", address, SECRET_ID, SECRET_KEY]
        environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=60, env=environment
        )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["shown"]["Name"], result["shown"]["SampleInterval"], result["code"]) == (
        "节点",
        20,
        "ResourceNotFound.TemplateNotExist",
    )
