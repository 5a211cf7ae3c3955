import pytest

from dcbmr.engine.layout import threads_of_workers
from dcbmr.errors import InputError


@pytest.mark.parametrize(
    ("cpus", "wish", "threads"),
    [
        ([16, 8], {}, [16, 8]),
        ([16, 0], {}, [16]),
        ([16, 16], {"n_workers": 2}, [16, 16]),
        ([16, 16], {"n_workers": 3}, [8, 8, 8]),
        ([16, 8], {"n_workers": 2}, [8, 8]),
        ([4], {"n_workers": 4}, [1, 1, 1, 1]),
        ([16, 8], {"n_threads": 8}, [8, 8, 8]),
        ([16, 8], {"n_threads": 5, "n_workers": 2}, [5, 5]),
    ],
)
def test_workers_share_the_cpus(cpus, wish, threads):
    assert threads_of_workers(cpus, **wish) == threads


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"n_workers": 25}, "24 CPUs on 2 nodes.*enough for 24 workers of 1 thread each; 25 were asked for"),
        ({"n_workers": 5, "n_threads": 8}, "enough for 3 workers of 8 threads each; 5 were asked for"),
        ({"n_threads": 17}, "enough for 0 workers of 17 threads each; 1 were asked for"),
    ],
)
def test_more_workers_than_there_is_room_for(wish, message):
    with pytest.raises(InputError, match=message):
        threads_of_workers([16, 8], **wish)
