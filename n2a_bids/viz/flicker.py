"""How figures flicker between their states: CSS without a script, so that it works in the SVG alone."""

from __future__ import annotations

SECONDS_PER_STATE = 0.9


def flicker_style(uid: str, n_states: int, resting: int) -> str:
    """CSS of a flicker: no script, so it also works where the SVG is opened alone.

    At rest one state is shown. Pointing at the picture, tapping or clicking it shows all in turn; pointing at
    a name shows that state; choosing a name by click, tap or keyboard holds its state, wherever the pointer
    goes, until the picture or another name is chosen. Nothing moves unasked. Paper shows the state at rest.
    """
    period = n_states * SECONDS_PER_STATE
    rules = [
        f"#{uid} .state{{opacity:0}}#{uid} .s{resting}{{opacity:1}}",
        f"#{uid} .chip,#{uid} .scene{{cursor:pointer;outline:none}}",
        f"#{uid} .chip:hover rect,#{uid} .chip:focus rect{{fill-opacity:1}}",
        f"#{uid} .chip:focus-visible rect{{stroke:#fff;stroke-width:2}}",
        f"@keyframes {uid}{{0%{{opacity:1}}{100 / n_states:.4f}%{{opacity:0}}100%{{opacity:0}}}}",
    ]
    for state in range(n_states):
        delay = state * SECONDS_PER_STATE - period
        playing = f"animation:{uid} {period:g}s step-end {delay:g}s infinite"
        rules.append(f"#{uid} .scene:is(:hover,:focus) .s{state}{{{playing}}}")
    # The more classes, the more weight: a name pointed at wins over the picture, a name chosen over both.
    for pointer, scene in ((":hover", ".scene.scene"), (":focus", ".scene.scene.scene")):
        for state in range(n_states):
            held = f"#{uid} .c{state}{pointer}~{scene}"
            rules.append(f"{held} .state{{opacity:0;animation:none}}{held} .s{state}{{opacity:1}}")
    rules.append(f"@media print{{#{uid} .chip{{display:none}}}}")
    return "".join(rules)
