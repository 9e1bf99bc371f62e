"""Brings the installed Autobahn test suite to Python 3, in place; run once after it is installed.

The suite is frozen at Python 2, which today's systems no longer have. Only its cases are needed
(`autobahntestsuite/case`, `caseset.py`, `testdata`); `fuzz.py` runs them. In Python 2 a string is
bytes, so the sources are read as Latin-1: each byte of a literal becomes one character of the same
number, and `fuzz.py` turns characters into bytes at the border to the library. What the cases send,
expect and judge is left as it is.
"""

import re
import sysconfig
from pathlib import Path

from fissix.refactor import RefactoringTool

FIXERS = ["dict", "except", "has_key", "import", "map", "print", "raise", "unicode", "xrange"]
PATCHES = [
    # A class's bases must not name `object` before the others any more.
    (r"\(object, Case, \)", "(Case, )"),
    # Descriptions only.
    (r"binascii\.b2a_hex\(", "repr("),
    (r'pkg_resources\.resource_filename\("autobahntestsuite", ', "beside("),
    (r"import copy, os, pkg_resources,", "import copy, os,"),
    (r"^class (?=Case:)", "def beside(name):\n   import os\n   return os.path.join(os.path.dirname(os.path.dirname(__file__)), name)\n\nclass "),
    # Division of whole numbers.
    (r"(?<=len\(self\.payload\) )/ ", "// "),
    # A validator wants bytes.
    (r"v\.validate\(vss\[:i\]\)", 'v.validate(vss[:i].encode("latin-1"))'),
    # Pickles of equal values may differ; the values do not.
    (r"pickle\.dumps\(obj1\) == pickle\.dumps\(obj2\)", "obj1 == obj2"),
    # A case that the suite does not run, and an interface that has gone.
    (r"^from case9_9_1 import \*$", ""),
]  # fmt: skip


def port(path, tool):
    text = path.read_bytes().decode("latin-1").replace("\r\n", "\n")
    text = re.sub(r"^#.*coding[=:].*\n", "", text, count=1, flags=re.M)
    for pattern, replacement in PATCHES:
        text = re.sub(pattern, replacement, text, flags=re.M)
    if path.name == "case12_x_x.py":
        text = text.replace("from case import Case", "from case import Case, beside", 1)
    # The converter resolves imports relative to the file's folder, so it has to know the path.
    text = str(tool.refactor_string(text + "\n", str(path)))
    path.write_bytes(f"# coding=latin-1\n{text}".encode("latin-1"))


def main():
    home = Path(sysconfig.get_path("purelib")) / "autobahntestsuite"
    tool = RefactoringTool([f"fissix.fixes.fix_{name}" for name in FIXERS])
    (home / "__init__.py").write_text("")
    (home / "case" / "case9_9_1.py").unlink(missing_ok=True)
    for path in [home / "caseset.py", *sorted((home / "case").glob("*.py"))]:
        port(path, tool)


main()
