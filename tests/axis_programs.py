"""Hypothesis strategy for networks of tables of one sample, shared by the tests of the runtime."""

from hypothesis import strategies as st
from small_ops import axis_lookups

from lutkit_runtime.ops import CODES, Add, BitField, BodyOp, Ensemble, PixelShuffle, Requantise
from lutkit_runtime.ops.axis_lookup import LARGEST_ENTRY
from lutkit_runtime.padding import Padding


@st.composite
def axis_networks(draw: st.DrawFn, *, source: str = "image", result: str = "result") -> tuple[Ensemble, Requantise]:
    """Draw networks of tables of one sample as families build them: bits apart, layers, blocks, four turns, a sum."""
    network = _Network(draw, source)
    blocks = draw(st.sampled_from((1, 1, 2, 3)))
    last = network.add_layers(blocks**2)
    if blocks > 1 or draw(st.booleans()):
        network.add(PixelShuffle(output="turn", input=last, block=blocks))
    total = Ensemble(output="turns", input=source, body=tuple(network.body))
    added = source if blocks == 1 and draw(st.booleans()) else None
    divisor = draw(st.integers(1, 5))
    bias = draw(st.integers(-20, 275)) * divisor + draw(st.integers(0, divisor))
    return total, Requantise(output=result, input=total.output, bias=bias, divisor=divisor, residual=added)


class _Network:
    """Adds layer after layer to a body; knows what every plane can hold."""

    def __init__(self, draw: st.DrawFn, source: str) -> None:
        self._draw = draw
        self._source = source
        self._padding = draw(st.sampled_from(Padding))
        self.body: list[BodyOp] = []
        self.planes = {source: CODES}

    def add(self, op: BodyOp) -> str:
        """Add an op; returns the name of its plane."""
        self.planes[op.output] = op.follow(self.planes)
        self.body.append(op)
        return op.output

    def add_layers(self, outputs: int) -> str:
        """Add the bits and one to three layers, the last of so many channels; returns its plane."""
        draw = self._draw
        bits = draw(st.integers(1, 7))
        names = [
            self.add(BitField(output="high", input=self._source, shift=8 - bits, bits=bits, offset=-(1 << bits - 1)))
        ]
        if draw(st.booleans()):
            names.append(self.add(BitField(output="low", input=self._source, shift=0, bits=8 - bits)))
        # layers of one width are alike in channels: they may be depthwise, and add what they read
        width = draw(st.sampled_from((outputs, 2, 3)))
        widths = draw(st.lists(st.sampled_from((width, width, 1, 4)), max_size=2))
        for number, width in enumerate((*widths, outputs)):
            names = [self._add_layer(f"layer{number}", names, width)]
        return names[0]

    def _add_layer(self, layer: str, sources: list[str], width: int) -> str:
        """Add a lookup of each source, their weighted sum, and a rounding that may add what was read."""
        draw = self._draw
        first = self.planes[sources[0]]
        depthwise = first.channels == width and draw(st.booleans())
        terms = [
            self.add(
                draw(
                    axis_lookups(
                        f"{layer}/{name}",
                        name,
                        self.planes[name],
                        outputs=width,
                        depthwise=depthwise,
                        paddings=(self._padding,),
                    )
                )
            )
            for name in sources
        ]
        if len(terms) > 1 or draw(st.booleans()):
            weights = draw(st.lists(st.sampled_from((1, 2, 5, 64)), min_size=len(terms), max_size=len(terms)))
            weights = draw(st.sampled_from(((), tuple(weights))))
            terms = [self.add(Add(output=f"{layer}/sum", terms=tuple(terms), weights=weights))]
        addable = [name for name in sources if self.planes[name].channels in (1, width)]
        low = draw(st.integers(-128, 50))
        unit = max(self.planes[terms[0]].largest // LARGEST_ENTRY, 1)
        return self.add(
            Requantise(
                output=layer,
                input=terms[0],
                bias=draw(st.integers(-40, 40)) * unit,
                divisor=draw(st.integers(1, 2 * unit)),
                residual=draw(st.sampled_from((None, *addable))),
                low=low,
                high=draw(st.integers(low + 1, 127)),
            )
        )
