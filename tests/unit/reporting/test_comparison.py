from __future__ import annotations

import numpy as np

from pipeline.reporting.comparison import FULL, heat


def test_heat_goes_from_black_through_red_and_yellow_to_white() -> None:
    levels = np.array([0, FULL // 3 + 1, 2 * FULL // 3 + 1, FULL, 255], np.uint8)
    one = np.broadcast_to(levels, (2, 3, 4, 5)).copy()
    found = heat(one, np.zeros_like(one))
    assert found.shape == (2, 3, 4, 5)
    black, red, yellow, white, more = found[0, :, 0].T.tolist()
    assert black == [0, 0, 0]
    assert red[0] == 255
    assert red[1] < 10
    assert red[2] == 0
    assert yellow[:2] == [255, 255]
    assert yellow[2] < 10
    assert white == more == [255, 255, 255]
    assert np.array_equal(found, heat(np.zeros_like(one), one))
    assert np.array_equal(heat(one[:, :1], np.zeros_like(one[:, :1])), found)
