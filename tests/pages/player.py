"""The player of the pages, as its npm package has it, less what would load something from elsewhere.

`python tests/pages/player.py` writes it into the package, after its version was changed in tests/players/package.json.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from players.programs import node_modules

SHIPPED = Path(__file__).parents[2] / "mps_dagster" / "pages" / "static" / "player"
ELSEWHERE = re.compile(r"@font-face\{[^}]*\}|\s*/\*# sourceMappingURL=[^*]*\*/|\n//# sourceMappingURL=.*")


def files() -> dict[str, str]:
    """Texts by name."""
    package = node_modules() / "shaka-player"
    script, styles = ((package / "dist" / name).read_text() for name in ("shaka-player.ui-es2021.js", "controls.css"))
    return {
        "shaka-player.ui.js": ELSEWHERE.sub("", script),
        "controls.css": ELSEWHERE.sub("", styles),
        "LICENSE": (package / "LICENSE").read_text(),
    }


if __name__ == "__main__":
    SHIPPED.mkdir(exist_ok=True)
    for name, text in files().items():
        (SHIPPED / name).write_text(text)
