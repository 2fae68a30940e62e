"""Rendered scenes: exact depth and normals, light from where it comes, shadows where they fall."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit.relighting.ground import EXTENT, Ground, make_noise, read_field
from lutkit.relighting.lights import AZIMUTHS, TEMPERATURES, Light, blackbody_colour, name_lights
from lutkit.relighting.rendering import Body, Camera, Stage, bend_shoulder, find_lit, make_plain, trace
from lutkit.relighting.solids import Ball, Block, Frustum, Solid
from lutkit.relighting.staging import draw_stage

FLAT = Ground(np.zeros((1, 1), np.float32))
NOISE = np.zeros((4, 4), np.float32)
GRAY = make_plain((0.5, 0.5, 0.5))
SIDE = 64

angles = st.floats(0, 360)
steep = st.floats(15, 85)


def set_stage(*solids, camera=None, ground=FLAT, **options):
    return Stage(ground, GRAY, [Body(solid, GRAY) for solid in solids], camera or Camera(90, 20, 4), NOISE, **options)


def direct(azimuth, elevation):
    return Light(azimuth, elevation=elevation).direction


@given(st.floats(40, 90), st.floats(12, 30))
@settings(max_examples=15)
def test_depth_of_a_ball_is_exact(elevation, distance):
    """In closed form, at every pixel: the nearer root of the sphere's equation, or the plane."""
    camera = Camera(elevation, distance, 5)
    surface = trace(set_stage(Solid(Ball(), (0.2, -0.3, 0.9), (0.8, 0.8, 0.8)), camera=camera), 24)
    rays = camera.rays(24).astype(np.float64).reshape(24, 24, 3)
    away = camera.place - (0.2, -0.3, 0.9)
    a, b, c = (rays**2).sum(2), rays @ away, away @ away - 0.64
    root = b * b - a * c
    plane = -camera.place[2] / rays[..., 2]
    expected = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, plane)
    np.testing.assert_allclose(surface.distances, expected, atol=2e-3)
    assert np.isclose(surface.distances, plane, atol=1e-4).any()
    assert not np.isclose(surface.distances, plane, atol=1e-4).all()
    low, high = expected.min(), expected.max()
    np.testing.assert_allclose(surface.depth, (expected - low) / (high - low), atol=2e-3)
    assert surface.depth.min() == 0 and surface.depth.max() == 1


@pytest.mark.parametrize("shape", [Ball(), Block(), Frustum(1.0), Frustum(0.5), Frustum(0.0)])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_rays_enter_solids_at_their_surface(shape, seed):
    """An independent answer: walking along the ray in small steps and asking for each point whether it is inside."""
    rng = np.random.default_rng(seed)
    solid = Solid(shape, tuple(rng.uniform(-1, 1, 3)), tuple(rng.uniform(0.5, 1.5, 3)), rng.uniform(0, 6))
    origins = rng.uniform(-1, 1, (20, 3)) * 0.5 + 6 * _unit(rng.standard_normal((20, 3)))
    towards = _unit(rng.uniform(-1.2, 1.2, (20, 3)) - origins)
    origins, towards = origins.astype(np.float32), towards.astype(np.float32)
    found = solid.enter(origins, towards)
    steps = np.arange(0, 12, 0.004)
    walked = origins[:, None] + steps[None, :, None] * towards[:, None]
    inside = _is_inside(shape, solid.to_local(walked.reshape(-1, 3)).astype(np.float64)).reshape(20, -1)
    first = np.where(inside.any(axis=1), steps[inside.argmax(axis=1)], np.inf)
    chord = inside.sum(axis=1) * 0.004
    sure = (chord > 0.02) | np.isinf(found)
    assert (chord[np.isinf(found)] < 0.02).all()
    np.testing.assert_allclose(found[sure & np.isfinite(found)], first[sure & np.isfinite(found)], atol=0.006)
    assert (solid.blocks(origins, towards) == np.isfinite(found)).all()
    # Normals are unit vectors against the ray: it comes from outside.
    hit = np.isfinite(found)
    points = origins[hit] + found[hit, None] * towards[hit]
    normals = solid.normals(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    assert ((normals * towards[hit]).sum(axis=1) < 1e-2).all()
    outside = solid.to_local(points + np.float32(0.01) * normals).astype(np.float64)
    assert not _is_inside(shape, outside).any()


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _is_inside(shape, points):
    if isinstance(shape, Ball):
        return (points**2).sum(axis=1) < 1
    if isinstance(shape, Block):
        return (np.abs(points) < 1).all(axis=1)
    radius = 1 + (shape.top - 1) / 2 * (points[:, 2] + 1)
    return (np.abs(points[:, 2]) < 1) & (np.hypot(points[:, 0], points[:, 1]) < radius)


@pytest.mark.parametrize("name", AZIMUTHS)
def test_a_ball_is_brightest_where_the_light_comes_from_and_its_shadow_falls_on_the_far_side(name):
    """Seen from above: north is up in the picture, east is right."""
    solid = Solid(Ball(), (0, 0, 0.6), (0.6, 0.6, 0.6))
    surface = trace(set_stage(solid, camera=Camera(90, 40, 4)), SIDE)
    light = Light(AZIMUTHS[name], 6500)
    picture = surface.expose(light).astype(float).mean(axis=2)
    down, across = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    place = (across * np.sin(np.radians(light.azimuth)) - down * np.cos(np.radians(light.azimuth))) * 4 / SIDE
    on_ball = np.hypot(down, across) * 4 / SIDE < 0.55
    off_ball = np.hypot(down, across) * 4 / SIDE > 0.65
    for towards, beside in ((place > 0.3, place < -0.3),):
        assert picture[on_ball & towards].mean() > 1.5 * picture[on_ball & beside].mean()
    row, column = np.unravel_index(np.where(on_ball, picture, 0).argmax(), picture.shape)
    assert place[row, column] > 0.15
    dark = off_ball & (picture < 0.6 * np.median(picture[off_ball]))
    # The plane's point whose way to the light passes through the middle of the ball.
    expected = -0.6 / np.tan(np.radians(light.elevation))
    assert dark.sum() > 20 and place[dark].mean() == pytest.approx(expected - 0.1, abs=0.2)
    assert (place[dark] < 0.2).all()


@given(angles, steep, st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_shadow_of_a_ball_on_the_ground_is_the_ellipse_of_geometry(azimuth, elevation, seed):
    rng = np.random.default_rng(seed)
    points = np.zeros((500, 3), np.float32)
    points[:, :2] = rng.uniform(-6, 6, (500, 2))
    normals = np.tile(np.float32([0, 0, 1]), (500, 1))
    towards = direct(azimuth, elevation)
    lit = find_lit(set_stage(Solid(Ball(), (0, 0, 1.5), (1, 1, 1))), points, normals, towards)
    apart = np.array([0, 0, 1.5]) - points
    beside = np.linalg.norm(apart - (apart @ towards)[:, None] * towards, axis=1)
    sure = np.abs(beside - 1) > 0.01
    assert (lit == (beside > 1))[sure].all()


def test_hills_hide_the_light_as_a_walk_towards_it_finds():
    rng = np.random.default_rng(3)
    ground = Ground(make_noise(rng, 64, 2.5, 2) * np.float32(0.8))
    points = np.zeros((300, 3), np.float32)
    points[:, :2] = rng.uniform(-14, 14, (300, 2))
    points[:, 2] = ground.height(points[:, 0], points[:, 1])
    for azimuth in (0, 100, 225):
        towards = direct(azimuth, 20)
        lit = find_lit(set_stage(ground=ground), points, ground.normals(points), towards)
        margin = np.full(300, np.inf)
        for distance in np.arange(1.2, 12, 0.1):
            there = points + np.float32(distance) * towards.astype(np.float32)
            margin = np.minimum(margin, there[:, 2] - ground.height(there[:, 0], there[:, 1]))
        facing = ground.normals(points) @ towards.astype(np.float32)
        assert not lit[(margin < -0.6) | (facing < -0.02)].any()
        assert lit[(margin > 0.6) & (facing > 0.1)].mean() > 0.9
        assert 20 < lit.sum() < 290


def test_fields_repeat_and_rays_end_on_the_hills():
    rng = np.random.default_rng(1)
    field = make_noise(rng, 32, 2.0)
    assert field.mean() == pytest.approx(0, abs=1e-5) and field.std() == pytest.approx(1, abs=1e-5)
    places = np.arange(32, dtype=np.float32)
    np.testing.assert_array_equal(
        read_field(field, places - 64, places + 96), field[places.astype(int), places.astype(int)]
    )
    ground = Ground(field * np.float32(0.4))
    camera = Camera(50, 20, 9)
    origin = camera.place.astype(np.float32)
    ends = origin + ground.enter(origin, camera.rays(20))[:, None] * camera.rays(20)
    np.testing.assert_allclose(ends[:, 2], ground.height(ends[:, 0], ends[:, 1]), atol=0.02)
    again = ground.height(ends[:, 0] + np.float32(EXTENT), ends[:, 1])
    np.testing.assert_allclose(again, ground.height(ends[:, 0], ends[:, 1]), atol=1e-2)


def test_same_seed_gives_the_same_bytes():
    def render(seed):
        surface = trace(draw_stage(np.random.default_rng(seed)), 32)
        return surface.depth.tobytes(), surface.expose(Light(45, 3500)).tobytes()

    assert render(5) == render(5)
    assert render(5) != render(6)


@pytest.mark.parametrize("seed", range(6))
def test_drawn_scenes_have_depth_shadows_and_no_holes(seed):
    surface = trace(draw_stage(np.random.default_rng([9, seed])), 48)
    assert np.isfinite(surface.distances).all() and np.isfinite(surface.points).all()
    assert surface.depth.std() > 0.05
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=2), 1, atol=1e-3)
    pictures = {name: surface.expose(light) for name, light in name_lights(8).items()}
    shades = [1 - surface.lit(light).mean() for light in name_lights(8).values()]
    assert min(shades) > 0.01 and max(shades) < 0.8
    for picture in pictures.values():
        assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
        assert 30 < picture.mean() < 220 and picture.std() > 10
    assert len({picture.tobytes() for picture in pictures.values()}) == 8


def test_lights_are_named_and_warm_light_is_redder():
    names = name_lights()
    assert len(names) == 40 and len(name_lights(8)) == 8 and set(name_lights(8)) < set(names)
    assert names["NE_2500"] == Light(45, 2500)
    with pytest.raises(ValueError, match="9 lights"):
        name_lights(9)
    surface = trace(draw_stage(np.random.default_rng(2)), 32)
    means = [surface.expose(Light(90, kelvin)).reshape(-1, 3).mean(axis=0) for kelvin in TEMPERATURES]
    ratios = [mean[0] / mean[2] for mean in means]
    assert ratios == sorted(ratios, reverse=True) and ratios[0] > 1.5 * ratios[-1]


def test_black_bodies_have_the_colours_of_the_tables():
    """Chromaticities of illuminant A (2856 K) and, near the Planckian locus, of 6504 K; D65 itself lies above it."""
    for kelvin, x, y in ((2856, 0.44758, 0.40745), (6504, 0.3135, 0.3237), (4000, 0.3805, 0.3768)):
        colour = blackbody_colour(kelvin)
        assert colour @ [0.2126, 0.7152, 0.0722] == pytest.approx(1)
        matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        total = matrix @ colour
        assert total[0] / total.sum() == pytest.approx(x, abs=1.5e-3)
        assert total[1] / total.sum() == pytest.approx(y, abs=1.5e-3)
    for kelvin in (1600, 26000):
        with pytest.raises(ValueError, match=str(kelvin)):
            blackbody_colour(kelvin)


def test_azimuths_are_clockwise_from_north():
    np.testing.assert_allclose(Light(0, elevation=30).direction, [0, np.cos(np.pi / 6), 0.5], atol=1e-12)
    np.testing.assert_allclose(Light(90, elevation=30).direction, [np.cos(np.pi / 6), 0, 0.5], atol=1e-12)
    assert np.linalg.norm(Light(123, elevation=17).direction) == pytest.approx(1)


def test_shoulder_is_smooth_monotone_and_never_passes_white():
    light = np.linspace(0, 20, 4001, dtype=np.float32)
    bent = bend_shoulder(light)
    assert (np.diff(bent) >= 0).all() and bent.max() <= 1
    np.testing.assert_array_equal(bent[light <= 0.5], light[light <= 0.5])
    assert np.abs(np.diff(bent, 2)).max() < 1e-3
