from repligan.reporting.words import label, number, with_interval


def test_shares_are_percentages_and_the_rest_three_digits() -> None:
    assert number("match", 0.998) == "99.8 %"
    assert number("tv", 0.88812) == "0.888"


def test_intervals_are_shown_where_there_are_any() -> None:
    assert with_interval("tv", {"mean": 0.5, "lo": 0.4, "hi": 0.6}) == ("0.5", "0.4 to 0.6")
    assert with_interval("tv", {"mean": 0.5}) == ("0.5", "")


def test_labels_name_the_protocol() -> None:
    assert label("fd_cnn_2000") == "Frechet distance, classifier features, 2000 images a side"
    assert label("something_new") == "something_new"
