"""Laws of the figures: what is seen is what was measured, in one window, and nothing moves unasked."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from n2a_bids import viz
from n2a_bids.record.denoising import CandidateRisk, Choice, RingCorrelationRecord, list_epochs
from n2a_bids.record.regions import RegionRecord
from n2a_bids.viz import Frame
from n2a_bids.viz.distributions import Point, distribution
from n2a_bids.viz.micrographs import ring_chart
from n2a_bids.viz.svg import palette_colours
from n2a_bids.viz.view import Cut, evenly_spaced_cuts, to_grey

SVG = "{http://www.w3.org/2000/svg}"
SHAPE = (24, 28, 20)


@pytest.fixture
def frame() -> Frame:
    centre = np.array(SHAPE)[:, None, None, None] / 2
    distance = (((np.indices(SHAPE) - centre + 0.5) / (centre * 0.8)) ** 2).sum(axis=0)
    return Frame(distance < 1, (1.0, 1.0, 1.5), (-12.0, -14.0, -10.0))


@pytest.fixture
def volumes(frame: Frame) -> list[np.ndarray]:
    """One repetition, the mean and a denoised image."""
    rng = np.random.default_rng(5)
    truth = 100.0 * frame.mask + 30 * np.sin(np.indices(SHAPE)[0])
    noise = rng.normal(0, 10, (2, *SHAPE))
    return [truth + noise[0], truth + noise.mean(axis=0), truth]


def states_of(svg: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(svg)
    return [group for group in root.iter(f"{SVG}g") if "state" in group.get("class", "").split()]


def pixels_of(group: ElementTree.Element) -> list[np.ndarray]:
    """Pictures of a group; the ramp of a colour bar, one pixel high, is none."""
    addresses = [image.get("href") for image in group.iter(f"{SVG}image")]
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(a.split(",")[1])))) for a in addresses]
    return [image for image in pixels if image.shape[0] > 1]


def test_denoising_states_share_one_window(frame, volumes):
    """The same intensity is the same grey in all states: the grey is one function of the intensity."""
    window = viz.grey_window([volumes[1]], frame.mask)
    states = states_of(viz.denoising_flicker(*volumes, frame))
    assert len(states) == 3
    for state, volume in zip(states, volumes, strict=True):
        shown = np.concatenate([image.ravel() for image in pixels_of(state)])
        cuts = evenly_spaced_cuts(frame, {"axial": 8, "coronal": 8, "sagittal": 8})
        expected = np.concatenate([to_grey(cut.of(volume), window).ravel() for cut in cuts])
        np.testing.assert_array_equal(np.sort(shown), np.sort(expected))


def test_equal_images_make_equal_states(frame, volumes):
    """Where nothing was removed, flickering shows nothing."""
    first, *others = states_of(viz.denoising_flicker(volumes[1], volumes[1], volumes[1], frame))
    for other in others:
        for one, two in zip(pixels_of(first), pixels_of(other), strict=True):
            np.testing.assert_array_equal(one, two)


def test_details_share_one_window(frame, volumes):
    """Side by side as well: mean and mean again give the same pixels."""
    images = pixels_of(ElementTree.fromstring(viz.detail_zoom(volumes[1], volumes[1], volumes[1], frame)))
    assert len(images) == 6
    for row in (images[:3], images[3:]):
        np.testing.assert_array_equal(row[0], row[1])
        np.testing.assert_array_equal(row[0], row[2])


def test_residual_limits_are_symmetric(frame, volumes):
    """Turning the sign of the residual mirrors the colours about zero."""
    noise_sd = np.full(SHAPE, 10.0)
    mean, denoised = volumes[1:]
    forth = pixels_of(states_of(viz.residual_map(mean, denoised, frame, noise_sd=noise_sd))[0])
    back = pixels_of(states_of(viz.residual_map(denoised, mean, frame, noise_sd=noise_sd))[0])
    for one, two in zip(forth, back, strict=True):
        assert np.abs(one.astype(int) + two.astype(int) - 255).max() <= 1
    ticks = re.findall(r">([+-]?\d|0)</text>", viz.residual_map(mean, denoised, frame, noise_sd=noise_sd))
    assert [tick for tick in ticks if tick in ("-3", "+3")][:2] == ["-3", "+3"]


def test_zero_residual_is_black():
    """The palette is black at zero and mirrors its brightness about it."""
    brightness = palette_colours("cold-hot").astype(int).max(axis=1)
    assert brightness[[127, 128]].max() < 10
    assert brightness[0] > 200
    assert brightness[-1] > 200


def test_residual_of_a_perfect_denoiser_has_unit_spread(frame, volumes):
    """In units of the noise of the mean, removed noise has the SD of the difference of repetitions: one."""
    rng = np.random.default_rng(1)
    truth = volumes[2]
    repetitions = [truth + rng.normal(0, 10, SHAPE), 2.0 * (truth + rng.normal(0, 10, SHAPE)) + 7]
    mean = (repetitions[0] + (repetitions[1] - 7) / 2) / 2
    states = states_of(viz.residual_map(mean, truth, frame, repetitions=repetitions))
    # Limits of +-3 SD over 255 levels; both are noise of SD 1.
    spreads = [
        np.std(np.concatenate([p.ravel() for p in pixels_of(s)]).astype(float)) / 255 * 6 for s in states
    ]
    np.testing.assert_allclose(spreads[:2], 1.0, atol=0.12)


def test_alignment_ignores_gain(frame, volumes):
    """A repetition with another gain and offset looks like the reference once it is aligned."""
    states = states_of(viz.alignment_flicker(volumes[2], volumes[0], 3.0 * volumes[2] + 50, frame))
    for one, two in zip(pixels_of(states[1]), pixels_of(states[2]), strict=True):
        assert np.abs(one.astype(int) - two.astype(int)).max() <= 1


def test_crop_holds_the_brain_and_its_margin_only():
    """A voxel 20 mm before the brain, where the face is, is not in the figure."""
    mask = np.zeros((60, 80, 60), dtype=bool)
    mask[20:40, 20:50, 20:40] = True
    box = viz.crop_to_mask(mask, (1.0, 1.0, 1.0))
    assert mask[box].sum() == mask.sum()
    assert box[1].stop <= 50 + 5


def test_empty_mask_is_refused():
    """Nothing to show is an error, not an empty picture."""
    with pytest.raises(ValueError, match="empty"):
        viz.crop_to_mask(np.zeros((4, 4, 4), dtype=bool), (1, 1, 1))


def test_cuts_are_upright():
    """Anterior and superior are up, the left of the head is left."""
    volume = np.zeros((3, 4, 5))
    volume[0, -1, 2] = 1
    assert Cut("axial", 2).of(volume)[0, 0] == 1
    volume = np.zeros((3, 4, 5))
    volume[1, 0, -1] = 1
    assert Cut("sagittal", 1).of(volume)[0, 0] == 1


def test_flicker_rests_until_asked(frame, volumes):
    """Animations run only while the picture is pointed at; without that one state is visible."""
    svg = viz.denoising_flicker(*volumes, frame)
    style = svg[svg.index("<style>") : svg.index("</style>")]
    rules = re.findall(r"([^{}]+)\{animation:n2a", style)
    assert rules
    assert all(":is(:hover,:focus)" in rule for rule in rules)
    assert ".s2{opacity:1}" in style.split("}#")[1] + "}"


def test_state_that_was_chosen_is_held(frame, volumes):
    """Wherever the pointer goes, over the picture and over other names: the rule of a name chosen wins."""
    svg = viz.denoising_flicker(*volumes, frame)
    style = svg[svg.index("<style>") : svg.index("</style>")]
    held = re.findall(r"(\.c\d:focus~[^{]*) \.s\d\{opacity:1\}", style)
    shown = re.findall(r"(\.c\d:hover~[^{]*) \.s\d\{opacity:1\}", style)
    assert len(held) == len(shown) == 3
    assert not any("hover" in rule for rule in held)
    assert min(rule.count(".scene") for rule in held) > max(rule.count(".scene") for rule in shown) > 1


def test_figures_are_deterministic_and_keep_to_themselves(frame, volumes):
    """The same input gives the same text; styles of two figures never meet; no address leads outside."""
    one, again = (viz.denoising_flicker(*volumes, frame) for _ in range(2))
    other = viz.residual_map(volumes[1], volumes[2], frame)
    assert one == again
    assert ElementTree.fromstring(one).get("id") != ElementTree.fromstring(other).get("id")
    assert not re.search(r'(href|src)="(?!data:)', one + other)


def test_constant_image_is_drawn(frame):
    """No division by zero where there is no contrast."""
    flat = np.zeros(SHAPE)
    for svg in (
        viz.denoising_flicker(flat, flat, flat, frame),
        viz.residual_map(flat, flat, frame, repetitions=[flat, flat]),
        viz.alignment_flicker(flat, flat, flat, frame),
        viz.noise_map(flat, frame),
        viz.detail_zoom(flat, flat, flat, frame),
        viz.mask_contours(flat, frame),
    ):
        ElementTree.fromstring(svg)


def test_nan_is_black(frame, volumes):
    """Voxels outside the field of view of a repetition do not spoil the window."""
    holed = volumes[0].copy()
    holed[:, :4] = np.nan
    ElementTree.fromstring(viz.alignment_flicker(volumes[1], holed, holed, frame))
    assert to_grey(np.array([[np.nan]]), (0.0, 1.0))[0, 0] == 0


@pytest.mark.proof
def test_large_matrix_stays_below_three_megabytes():
    """A 0.7 mm head of pure noise, the worst case for compression, still fits."""
    shape = (220, 260, 210)
    mask = np.zeros(shape, dtype=bool)
    mask[8:-8, 8:-8, 8:-8] = True
    rng = np.random.default_rng(0)
    noise = rng.normal(100, 30, shape).astype(np.float32)
    svg = viz.denoising_flicker(noise, noise[::-1], noise[:, ::-1], Frame(mask, (0.7, 0.7, 0.7)))
    assert len(svg) < 3_000_000


def test_risk_marks_what_was_delivered():
    """The one that the record says was chosen."""
    candidates = [
        CandidateRisk("mean", 0.0, 0.0),
        CandidateRisk("recorrupted", -0.02, 0.001, gain_over_mean_db=4.0),
        CandidateRisk("blend", -0.03, 0.001, gain_over_mean_db=5.0),
    ]
    svg = viz.risk_bars(candidates, Choice("blend"))
    assert "✓ blend" in svg
    assert "the output is the blend" in ElementTree.fromstring(svg).get("aria-label")
    assert "✓ recorrupted" in viz.risk_bars(candidates, Choice("recorrupted"))
    assert "plain mean" in svg
    assert "✓ plain mean" in viz.risk_bars(candidates, Choice("mean", mean_won=True))


def test_iterations_are_compared_among_themselves():
    """Noise2Average has no risk of the plain mean to show: none is drawn."""
    rows = [CandidateRisk(f"noise2average, iteration {i}", 0.01 * (1 - i)) for i in (1, 2)]
    svg = viz.risk_bars(rows, Choice("noise2average, iteration 2"))
    assert "✓ Noise2Average, iteration 2" in svg
    assert "minus that of Noise2Average, iteration 1" in svg
    assert "plain mean" not in svg


def test_long_names_leave_room_for_the_bars():
    """Names of several steps are broken between the steps."""
    name = "fine-tuned network + non-local Bayes + fusion + local means"
    rows = [CandidateRisk("mean", 0.0), CandidateRisk(name, -0.1, gain_over_mean_db=2.0)]
    lines = re.findall(r">([^<>]*)</text>", viz.risk_bars(rows, Choice(name)))
    assert "✓ fine-tuned network + non-local Bayes" in lines
    assert "+ fusion + local means (+2.0 dB)" in lines


def test_screen_readers_are_told_what_a_figure_is(frame, volumes):
    """A name for each, as label and title; buttons and links are no part of an image, which hides them."""
    history = list_epochs("a", [1.0])
    rows = [CandidateRisk("mean", 0.0), CandidateRisk("other", -0.1)]
    motion = viz.MotionCurve("dwi", [1, 0], [0.0, 1.0], [0.0, 1.0])
    images = (
        *(viz.loss_curve(history), viz.risk_bars(rows, Choice()), viz.motion_curves([motion])),
        viz.mask_contours(volumes[0], frame),
    )
    groups = (viz.denoising_flicker(*volumes, frame), distribution([Point(1.0, "x", "y")], title="t"))
    for role, drawn in (("img", images), ("group", groups)):
        for svg in drawn:
            root = ElementTree.fromstring(svg)
            assert root.get("role") == role
            assert root.get("aria-label") == root[0].text
            assert root[0].tag.endswith("}title")
            active = [one for one in root.iter() if one.get("tabindex") or one.tag.endswith("}a")]
            assert bool(active) == (role == "group")
            assert all(one.get("role") == "button" for one in active if one.get("tabindex"))


def test_chart_of_nothing_is_no_figure():
    """No training and no comparison are no errors; one candidate alone is compared with nothing."""
    assert viz.loss_curve([]) == ""
    assert viz.risk_bars([], Choice()) == viz.risk_bars([CandidateRisk("mean", 0.0)], Choice()) == ""


def test_single_series_is_no_mean(frame, volumes):
    """It is called what it is: nothing was averaged."""
    rows = [CandidateRisk("mean", 0.0), CandidateRisk("local PCA", -0.1)]
    drawn = (
        viz.denoising_flicker(None, volumes[0], volumes[2], frame),
        viz.detail_zoom(None, volumes[0], volumes[2], frame),
        viz.residual_map(volumes[0], volumes[2], frame, noise_sd=np.ones(SHAPE), n_repetitions=1),
        viz.risk_bars(rows, Choice("local PCA"), before="before denoising"),
    )
    assert len(states_of(drawn[0])) == 2
    for svg in drawn:
        assert "before" in svg
        assert not re.search(r">[^<]*\b(mean|repetition)\b", svg[svg.index("</title>") :])


def test_charts_do_not_touch_global_style():
    """Drawing leaves matplotlib as it was."""
    import matplotlib

    before = dict(matplotlib.rcParams)
    viz.loss_curve(list_epochs("a", [1.0, 0.5]))
    assert dict(matplotlib.rcParams) == before


def test_diffusion_figures_are_drawn(frame, volumes):
    """Distortion, tensor, gradients and volumes give well-formed figures."""
    rng = np.random.default_rng(2)
    shells = np.array([0, 0, 1000, 1000, 2000, 2000])
    bvecs = rng.normal(size=(6, 3))
    series = np.stack(volumes * 2, axis=-1)
    directions = [np.ones((*SHAPE, 3)) / np.sqrt(3)] * 2
    anisotropy = np.clip(volumes[2] / 200, 0, 1)
    for svg in (
        viz.distortion_flicker(*volumes, volumes[0], frame),
        viz.tensor_maps(anisotropy, anisotropy, frame, directions=directions),
        viz.tensor_maps(anisotropy, anisotropy, frame),
        viz.gradient_plot([(shells, bvecs), (shells, bvecs)], ["AP", "PA"]),
        viz.volume_quality(series, series * 0.9, frame.mask, shells, noise_sd=np.full(SHAPE, 10.0)),
    ):
        ElementTree.fromstring(svg)


def test_thousands_are_written_out():
    """Nobody reads 1.04e+03 megabytes."""
    svg = distribution([Point(value, "x", "") for value in (900.0, 1000.0, 1040.0)], title="MB")
    assert "1040<" in svg
    assert "e+03" not in svg


def region(name: str, noise_sd_mean: float | None, n_voxels: int = 500) -> RegionRecord:
    return RegionRecord(
        index=1,
        name=name,
        n_voxels=n_voxels,
        few_voxels=n_voxels < 50,
        noise_sd=noise_sd_mean and 1.4 * noise_sd_mean,
        noise_sd_mean=noise_sd_mean,
        expected_error=noise_sd_mean and noise_sd_mean / 2,
        gain_db=6.02 if noise_sd_mean else None,
    )


def test_regions_are_sorted_by_noise_and_small_ones_marked():
    """The noisiest first, a star at few voxels; what was not measured is not drawn."""
    rows = [region("quiet", 1.0), region("loud", 3.0), region("speck", 2.0, 7), region("lost", None, 0)]
    svg = viz.region_chart(rows)
    shown = re.findall(r"(loud|speck\*|quiet|lost) ?\(\+6\.0 dB\)", svg)
    assert shown == ["loud", "speck*", "quiet"]
    assert "lost" not in svg
    assert ">noise SD, one repetition<" in svg
    assert "repetition" not in viz.region_chart(rows, single=True)
    assert viz.region_chart([region("lost", None)]) == ""


def test_of_many_regions_the_extremes_are_shown():
    """A chart of 400 rows is none."""
    svg = viz.region_chart([region(f"r{number:03d}", 1 + number) for number in range(400)])
    assert len(re.findall(r"r\d{3} \(", svg)) == 40
    assert "r399" in svg and "r000" in svg and "r200" not in svg
    assert "360 regions between these" in svg


def test_regions_are_coloured_and_the_rest_is_grey(frame, volumes):
    """Where there is no region the pixel is that of the image; neighbours in number differ in colour."""
    labels = np.zeros(SHAPE)
    labels[: SHAPE[0] // 2] = 11
    labels[: SHAPE[0] // 4] = 12
    anatomy, regions = states_of(viz.region_flicker(volumes[2], labels, frame))
    pictures = [image.get("href") for image in regions.iter(f"{SVG}image")]
    mixed = [Image.open(io.BytesIO(base64.b64decode(one.split(",")[1]))).convert("RGB") for one in pictures]
    hues = set()
    for grey, picture in zip(pixels_of(anatomy), mixed, strict=True):
        colours = np.asarray(picture).astype(int)
        plain = np.ptp(colours, axis=-1) == 0
        assert np.abs(colours[plain][:, 0] - grey[plain]).max(initial=0) < 20
        hues |= {int(one.argmax()) for one in colours[~plain]}
    assert len(hues) >= 2


@pytest.mark.parametrize("n_values", [1, 5, 30])
def test_equal_values_stand_on_their_bar(n_values):
    """One value has one bar, and the dots and the label are in its middle."""
    drawn = distribution([Point(2.5, "sub-01", "sub-01.html")] * n_values, title="SNR")
    ((start, width),) = [
        tuple(map(float, bar)) for bar in re.findall(r"M([\d.]+),112\.0v-[\d.]+h([\d.]+)v", drawn)
    ]
    centres = {float(x) for x in re.findall(r'<circle[^>]* cx="([\d.]+)"', drawn)}
    assert centres and all(start < centre < start + width for centre in centres)


def test_resolution_finer_than_the_pixels_is_told_as_such():
    """A curve that stays above the threshold ends at two pixels, which is no resolution that was measured."""
    rings = RingCorrelationRecord((0.1, 0.5), (1.0, 0.2), (1.0, 0.5), (0.3, 0.3), 2.0, 2.0, 3.1, None)
    text = re.sub(r"<[^>]*>", "", ring_chart(rings, *np.eye(32)[[0, 0], None] + np.eye(32), pixel_nm=4.6))
    assert "as measured: finer than 9.2 nm at 1/7, 14.3 nm at one bit" in text
    assert "denoised: finer than 9.2 nm at 1/7, none at one bit" in text
