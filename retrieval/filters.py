"""`where`: which chunks a search may find, as SQL. Every key and value is bound as a parameter, never written into it.

    {"source": "/notes/a.md"}                equal
    {"lang": ["en", "de"]}                   one of these
    {"page": {"$gte": 3, "$lt": 9}}          $eq $ne $in $nin, and $gt $gte $lt $lte, of numbers or of texts
    {"draft": None}                          null, or not there

All keys must hold. A list in the metadata is equal to each of its elements. True is 1, as in Python.
"""

# ruff: noqa: S608 (what is written into the SQL are names of our own columns)

from collections.abc import Mapping
from typing import Any

from phireside.errors import KnowledgeError
from phireside.retrieval.values import is_scalar
from phireside.text import clean_text

Where = Mapping[str, Any]
Sql = tuple[str, list[Any]]

# Keys that are columns, for chunks of documents. "+": the column's type must not convert what it is compared with.
_DOCUMENT = {"source": "+source", "title": "+title", "document": "+id"}
_CHUNK = {"position": "+position", "start": "+start", "end": '+"end"', "heading": "+heading", "page": "+page"}
BUILT_IN = frozenset(_DOCUMENT) | frozenset(_CHUNK)

_KEYS, _VALUES = 200, 20_000  # at most; SQLite itself takes 500 SELECTs in one, and 32,766 parameters

_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_HINT = 'docs/knowledge.md, "Filters", has them all: text, numbers, True, False, None, lists of these, $gte, …'


def numbers(where: Where) -> Sql:
    """A query for the numbers of the chunks that `where` lets through, and its parameters.

    Raises:
        KnowledgeError: a value or an operator that cannot be filtered by, or too many of them.
    """
    if not isinstance(where, Mapping):
        raise KnowledgeError(f"The filter is {where!r:.80}.", hint=_HINT)
    parts = [_condition(clean_text(str(key)), wanted) for key, wanted in where.items()]
    if not parts:
        return "SELECT number FROM chunks", []
    count = sum(len(values) for _, values in parts)
    if len(parts) > _KEYS or count > _VALUES:
        raise KnowledgeError(
            f"The filter has {len(parts)} keys and {count} values with them; {_KEYS} and {_VALUES} are the most.",
            hint="Give what belongs together one value when you add it, and filter by that.",
        )
    # Each part in its own SELECT: EXCEPT and UNION inside of them have no precedence in SQLite.
    sql = " INTERSECT ".join(f"SELECT number FROM ({part})" for part, _ in parts)
    return sql, [value for _, values in parts for value in values]


def _condition(key: str, wanted: object) -> Sql:
    if not isinstance(wanted, Mapping):
        return _equal(key, wanted)
    parts = [_operator(key, str(operator), value) for operator, value in wanted.items()]
    if not parts:
        raise KnowledgeError(f"The filter for {key!r} has no operator.", hint=_HINT)
    sql = " INTERSECT ".join(f"SELECT number FROM ({part})" for part, _ in parts)
    return sql, [value for _, values in parts for value in values]


def _operator(key: str, operator: str, value: object) -> Sql:
    if operator in ("$eq", "$in"):
        return _equal(key, value)
    if operator in ("$ne", "$nin"):
        return _except(_equal(key, value))
    if operator not in _ORDER or isinstance(value, list | tuple | set | frozenset) or not is_scalar(value):
        raise KnowledgeError(f"The filter {{{operator!r}: {value!r}}} for {key!r} cannot be used.", hint=_HINT)
    types = "('text')" if isinstance(value, str) else "('integer', 'real')"
    return _having(key, f"typeof({{0}}) IN {types} AND {{0}} {_ORDER[operator]} ?", [_bound(value)])


def _equal(key: str, wanted: object) -> Sql:
    values = list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
    if bad := [value for value in values if value is not None and not is_scalar(value)]:
        raise KnowledgeError(f"{bad[0]!r} for {key!r} cannot be filtered by.", hint=_HINT)
    bound = [_bound(value) for value in values if value is not None]
    found = _having(key, f"{{0}} IN ({', '.join('?' * len(bound))})", bound)
    if None not in values:
        return found
    missing = _except(_having(key, "{0} IS NOT NULL", []))
    return f"SELECT number FROM ({missing[0]}) UNION SELECT number FROM ({found[0]})", missing[1] + found[1]


def _having(key: str, test: str, values: list[Any]) -> Sql:
    """Chunks with a value of that key that passes the test, in which {0} stands for the value."""
    sql, bound = f"SELECT chunk AS number FROM facts WHERE key = ? AND ({test.format('value')})", [key, *values]
    if key in _DOCUMENT:
        owners = f"SELECT number FROM documents WHERE {test.format(_DOCUMENT[key])}"
        sql += f" UNION SELECT number FROM chunks WHERE document IN ({owners})"
    elif key in _CHUNK:
        sql += f" UNION SELECT number FROM chunks WHERE document IS NOT NULL AND ({test.format(_CHUNK[key])})"
    return sql, bound + (values if key in BUILT_IN else [])


def _except(found: Sql) -> Sql:
    return f"SELECT number FROM chunks EXCEPT SELECT number FROM ({found[0]})", found[1]


def _bound(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) else value
