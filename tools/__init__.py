"""Tools that an agent may call, one file per tool. Empty until issue 6 builds it."""
