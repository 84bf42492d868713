"""moto's S3 and SQS for other hosts: `python s3_server.py ADDRESS PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from moto.server import DomainDispatcherApplication, create_backend_app
from s3_servers import _Silent, atomic
from werkzeug.serving import make_server

if __name__ == "__main__":
    app = atomic(DomainDispatcherApplication(create_backend_app))
    make_server(sys.argv[1], int(sys.argv[2]), app, threaded=True, request_handler=_Silent).serve_forever()
