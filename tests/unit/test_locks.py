"""Who holds a lock, and who only looks whether somebody does."""

import fcntl
import os

import pytest

from babelscope.locks import hold, is_held


@pytest.fixture
def opened(tmp_path):
    """Return a file, and a function that opens it anew, as another process would."""
    path = tmp_path / "a.lock"
    path.touch()
    descriptors = []

    def open_again() -> int:
        descriptors.append(os.open(path, os.O_RDWR))
        return descriptors[-1]

    yield path, open_again
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_holder_is_seen_until_it_ends(opened):
    path, open_again = opened
    assert not is_held(path)
    holder = open_again()
    assert hold(holder, 0)
    assert is_held(path)
    assert is_held(path)
    fcntl.flock(holder, fcntl.LOCK_UN)
    assert not is_held(path)


def test_who_looks_is_not_taken_for_a_holder(opened, monkeypatch):
    path, _ = opened
    flock, seen = fcntl.flock, []

    def look_twice(file, how):
        """Look again while the first one has what it takes to look."""
        flock(file, how)
        if len(seen) < 1:
            seen.append(None)
            seen[0] = is_held(path)

    monkeypatch.setattr(fcntl, "flock", look_twice)
    assert not is_held(path)
    assert seen == [False]
