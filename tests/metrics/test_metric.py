from repligan.metrics.metric import KNOWN, frechet, metric


def test_shares_are_percentages_and_the_rest_three_digits() -> None:
    assert metric("match").number(0.998) == "99.8 %"
    assert metric("inside_0").number(0.5) == "50.0 %"
    assert metric("tv").number(0.88812) == "0.888"


def test_intervals_are_shown_where_there_are_any() -> None:
    assert metric("tv").with_interval({"mean": 0.5, "lo": 0.4, "hi": 0.6}) == ("0.5", "0.4 to 0.6")
    assert metric("tv").with_interval({"mean": 0.5}) == ("0.5", "")


def test_labels_name_the_protocol() -> None:
    assert metric("fd_cnn_2000").label == "Frechet distance, classifier features, 2000 images a side"
    assert metric("something_new").label == "something_new"


def test_the_frechet_distance_is_found_whatever_it_was_measured_with() -> None:
    assert frechet(["kid", "fd_inception_500", "recall"]) == "fd_inception_500"
    assert frechet(["fd"]) == "fd"
    assert frechet(["kid", "fdx"]) is None
    distance = metric("fd_inception_500")
    assert (distance.name, distance.better, distance.log) == ("fd_inception_500", "down", True)


def test_no_two_metrics_have_one_name_and_ranges_are_ranges() -> None:
    assert len({one.name for one in KNOWN}) == len(KNOWN)
    for one in KNOWN:
        assert one.low is None or one.high is None or one.low < one.high, one.name
        assert one.unit == "number" or (one.low, one.high) == (0.0, 1.0), one.name
