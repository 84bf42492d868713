"""The cost of growing partition sets: adding, loading, membership queries, and the query behind the UI's partitions page.

    python bench/partitions.py [--sizes 1000 10000 100000]

Each figure is the median of three runs in a new instance (SQLite, or PostgreSQL with MPS_DATABASE_URL).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
PAGE = """{ assetNodeOrError(assetKey: {path: ["demo", "source"]}) { ... on AssetNode {
  partitionKeysByDimension { partitionKeys }
  assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } } } } }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options = parser.parse_args()
    print(f"{'partitions':>10} {'add 1000':>9} {'load all':>9} {'ask for 1000':>13} {'UI page':>8} {'UI page MB':>11}")
    with tempfile.TemporaryDirectory(prefix="mps-bench-") as folder:
        os.environ |= {"DAGSTER_HOME": folder, "MPS_HOME": folder, "MPS_PROJECT": str(HERE.parent)}
        _measure(options.sizes)


def _measure(sizes: list[int]) -> None:
    import dagster as dg
    import requests
    import uvicorn
    from dagster._core.test_utils import create_test_daemon_workspace_context
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster_webserver.webserver import DagsterWebserver

    name, total = "demo_uploads", 0
    target = ModuleTarget("mps_dagster.definitions", None, None, "mps_dagster")
    with dg.DagsterInstance.get() as instance, create_test_daemon_workspace_context(target, instance) as workspace:
        server = uvicorn.Server(
            uvicorn.Config(DagsterWebserver(workspace).create_asgi_app(), host="127.0.0.1", port=0, log_level="error")
        )
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.05)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/graphql"

        def page() -> requests.Response:
            return requests.post(address, json={"query": PAGE}, timeout=300)

        def grow(to: int) -> None:
            nonlocal total
            while total < to:
                keys = [f"in/2026/11/23/clip {number:07d}.mp4" for number in range(total, min(to, total + 1000))]
                instance.add_dynamic_partitions(name, keys)
                total += len(keys)

        for size in sizes:
            grow(size - 3000 if size > 3000 else 0)
            add_s = _seconds(lambda: grow(total + 1000)) if size > 3000 else _seconds(lambda size=size: grow(size), 1)
            some = [f"in/2026/11/23/clip {number:07d}.mp4" for number in range(0, total * 2, max(1, total // 500))]
            load_s = _seconds(lambda: instance.get_dynamic_partitions(name))
            query_s = _seconds(lambda some=some: instance.get_existing_dynamic_partitions(name, some[:1000]))
            response = page()
            assert (
                len(response.json()["data"]["assetNodeOrError"]["partitionKeysByDimension"][0]["partitionKeys"])
                == total
            )
            page_s = _seconds(page)
            megabytes = len(response.content) / 1e6
            print(f"{total:>10} {add_s:>8.2f}s {load_s:>8.2f}s {query_s:>12.3f}s {page_s:>7.2f}s {megabytes:>11.2f}")


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    durations_s = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        durations_s.append(time.perf_counter() - started)
    return statistics.median(durations_s)


if __name__ == "__main__":
    sys.exit(main())
