"""Faults that are easily made where a tensor has a device and a type, each of which the cases have to notice.

What cannot be noticed is no fault: where a GPU takes the same, a type is what it was, or the answer is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ENGINES = Path(__file__).parents[3] / "featsvc" / "engines"
OWN_CASES = {
    "answers/axes.py": "dino and components",
    "answers/joint_basis.py": "dino and components",
    "clip/": "clip",
    "dino/": "dino",
    "networks/attention.py": "recipe",
    "networks/precision.py": "dino",
    "objects/sources.py": "prompts",
    "objects/": "object",
    "registry.py": "long_pass",
    "running/colours.py": "dino",
    "running/homeward.py": "dino",
    "sam2/": "sam2",
}
"""What is in the names of the cases about a folder or a file of the engines, or of enough of them."""


class Fault(NamedTuple):
    """A text that stands once in a file of the engines, and what is put in its place."""

    file: str
    text: str
    instead: str

    @property
    def module(self) -> str:
        """Where it is."""
        return f"featsvc.engines.{self.file.removesuffix('.py').replace('/', '.')}"

    @property
    def cases(self) -> str:
        """What is in the names of the cases that have to notice it; empty for all."""
        return next((own for start, own in OWN_CASES.items() if self.file.startswith(start)), "")

    def made(self) -> str:
        """The source with the fault."""
        source = (ENGINES / self.file).read_text()
        assert source.count(self.text) == 1, f"{self.file} has {source.count(self.text)} times {self.text!r}"
        return source.replace(self.text, self.instead)


FAULTS = (
    Fault("registry.py", "current_stream(self.options.device).synchronize", "current_stream().synchronize"),
    # Of all families.
    Fault("running/colours.py", "on_device(self.pixels, device)", "self.pixels"),
    Fault("running/family.py", "for each in pictures])).float())", "for each in pictures])))"),
    Fault("running/colours.py", "to(torch.float32).div_(LARGEST_BYTE)", "to(torch.float32)"),
    Fault("running/colours.py", "each[:, -bottom:].zero_()", "pass"),
    Fault("running/colours.py", "each[:, :, -right:].zero_()", "pass"),
    Fault("running/transfer.py", "return tensor.pin_memory()", "return tensor"),
    Fault(
        "running/transfer.py", 'tensor.to(device, non_blocking=device.type == "cuda")', "tensor.to(device)"
    ),
    Fault("running/transfer.py", "torch.cuda.current_stream(device).synchronize()", "pass"),
    Fault("running/transfer.py", "current_stream(device)", "current_stream()"),
    Fault("running/homeward.py", "lambda: homebound(tensor)", "lambda: tensor"),
    Fault("running/homeward.py", "torch.cuda.Stream(device,", "torch.cuda.Stream("),
    Fault("running/homeward.py", "self.came.synchronize()", "pass"),
    Fault("networks/precision.py", "network.to(options.device, memory", "network.to(memory"),
    Fault("networks/precision.py", "network.to(options.device, memory", "network.to('cuda', memory"),
    Fault("networks/precision.py", "return answer.to(values.dtype)", "return answer"),
    Fault(
        "networks/attention.py",
        'if queries.device.type != "cpu":',
        'if queries.device.type != "cpu":\n        mask = None',
    ),
    Fault("answers/axes.py", "(on_device(each, centred.device) for each in eigen)", "eigen"),
    Fault("answers/axes.py", "*on_host(centred.T", "*(centred.T"),
    Fault("answers/axes.py", "(on_device(_root(each.T @ each), part.device)", "(_root(each.T @ each)"),
    Fault("answers/axes.py", "(on_device(each.mean(dim=0), part.device) for", "(each.mean(dim=0) for"),
    Fault("answers/pca.py", "= on_host(axes.least, ", "= (axes.least, "),
    Fault("answers/pca.py", "features.device if stay else", '"cuda" if stay else'),
    Fault(
        "answers/pca.py",
        "(on_device(each, vectors.device) for each in (basis.mean, basis.axes))",
        "(basis.mean, basis.axes)",
    ),
    Fault("answers/pca.py", "on_device(basis.divide, vectors.device)", "basis.divide"),
    Fault("answers/pca.py", "= on_host(projection.components, *masks)", "= (projection.components, *masks)"),
    Fault("answers/joint_basis.py", "Cells(features(each), ", 'Cells(features(each).to("cuda"), '),
    Fault("answers/rounding.py", ", device=flat.device)", ")"),
    Fault("answers/rounding.py", "on_host(*made.beside, made.values)", "(*made.beside, made.values)"),
    Fault("answers/rounding.py", "on_host(in_order(values))", "(in_order(values),)"),
    Fault(
        "geometry/sampling.py",
        "on_device(part.to(features.dtype)[:, :, None], features.device)",
        "part.to(features.dtype)[:, :, None]",
    ),
    Fault("geometry/sampling.py", "on_device(low, features.device), ", "low, "),
    Fault("geometry/sampling.py", ", on_device(high, features.device)", ", high"),
    Fault("geometry/sampling.py", "on_device(low, maps.device), ", "low, "),
    Fault(
        "geometry/sampling.py",
        "on_device(part.to(maps.dtype), maps.device).view(shape)",
        "part.to(maps.dtype).view(shape)",
    ),
    # CLIP
    Fault("clip/model.py", "torch.device(options.device)", 'torch.device("cuda")'),
    Fault(
        "clip/dense.py",
        "patches = visual.conv1(pixels.to(visual.conv1.weight.dtype))",
        "patches = visual.conv1(pixels)",
    ),
    Fault("clip/dense.py", ", device=tokens.device)", ")"),
    Fault("clip/dense.py", "[: len(tokens)].float()", "[: len(tokens)]"),
    Fault(
        "clip/last_block.py", "torch.arange(len(tokens), device=tokens.device)", "torch.arange(len(tokens))"
    ),
    Fault("clip/text.py", "on_device(together, loaded.device)", "together"),
    Fault("clip/text.py", "on_host(_features(", "(_features("),
    Fault(
        "clip/text.py",
        "len(tokens)]\n    return F.normalize(pooled.float()",
        "len(tokens)]\n    return F.normalize(pooled",
    ),
    Fault(
        "clip/operations.py", "on_device(torch.from_numpy(texts), features.device)", "torch.from_numpy(texts)"
    ),
    Fault("clip/similarity.py", "on_device(band[:, near], features.device)", "band[:, near]"),
    Fault("clip/similarity.py", "on_device(part[:, near], tall.device)", "part[:, near]"),
    Fault("clip/tiles.py", 'if loaded.device.type == "cpu":', "if True:"),
    Fault(
        "clip/tiles.py",
        "on_device(part.to(tiles.dtype)[:, None], tiles.device)",
        "part.to(tiles.dtype)[:, None]",
    ),
    Fault(
        "clip/tiles.py",
        "on_device(part.to(tiles.dtype)[:, :, None], tiles.device)",
        "part.to(tiles.dtype)[:, :, None]",
    ),
    Fault("clip/pyramids.py", "as_array(small)", "small.numpy()"),
    Fault(
        "clip/recipes.py",
        "torch.arange(height * width, device=keys.device)",
        "torch.arange(height * width)",
    ),
    Fault(
        "clip/recipes.py", "F.pad(near.flatten(1), (1, 0)).to(keys.dtype)", "F.pad(near.flatten(1), (1, 0))"
    ),
    Fault("clip/recipes.py", "carried.to(incoming.tokens.dtype)", "carried"),
    Fault("clip/recipes.py", "torch.empty_like(values)", "torch.empty(values.shape)"),
    Fault("clip/recipes.py", "proxy.features.float().flatten(1, 2)", "proxy.features.flatten(1, 2)"),
    Fault(
        "clip/dense_pass.py",
        "Proxy(dino.network.norm(tokens), patch)",
        'Proxy(dino.network.norm(tokens).to("cuda"), patch)',
    ),
    # How pictures become smaller, of both.
    Fault(
        "geometry/resizing.py",
        "on_device(torch.from_numpy(self.table), device)",
        "torch.from_numpy(self.table)",
    ),
    Fault("geometry/resizing.py", "torch.arange(taps, device=device)", "torch.arange(taps)"),
    Fault(
        "geometry/resizing.py",
        "torch.zeros(len(table), side, device=device)",
        "torch.zeros(len(table), side)",
    ),
    # DINO
    Fault("dino/model.py", "torch.device(options.device)", 'torch.device("cuda")'),
    Fault("dino/features.py", "pixels.to(convolution.weight.dtype)", "pixels"),
    Fault("dino/features.py", "torch.arange(length, device=device)", "torch.arange(length)"),
    Fault("dino/features.py", "torch.arange(-1, 2, device=device)", "torch.arange(-1, 2)"),
    Fault("dino/position.py", ".to(patches.dtype)", ""),
    # SAM2
    Fault("sam2/model.py", '"torch.nn.Identity"', '"sam2.modeling.position_encoding.PositionEmbeddingSine"'),
    Fault(
        "sam2/model.py",
        '"sam2.modeling.sam.transformer.Attention"',
        '"sam2.modeling.sam.transformer.RoPEAttention"',
    ),
    Fault("sam2/view.py", "on_device(view.pixels(), loaded.device)", "view.pixels()"),
    Fault("sam2/embed.py", "typed(each.float(), ", "typed(each, "),
    Fault("sam2/embedding.py", ".div_(LARGEST_BYTE)", ""),
    Fault("sam2/embedding.py", "pixels.to(dtype)", "pixels"),
    Fault("sam2/prompts.py", "on_device(each, device)", "each"),
    Fault("sam2/regions.py", "on_host(*sides(logits, threshold))", "sides(logits, threshold)"),
    Fault("sam2/regions.py", ", device=masks.device)", ")"),
    Fault(
        "sam2/regions.py",
        "on_device(torch.from_numpy(np.stack(changes)), logits.device)",
        "torch.from_numpy(np.stack(changes))",
    ),
    Fault("sam2/steps.py", "weights.to(pixels.dtype)", "weights"),
    Fault("sam2/points.py", "get_dense_pe().to(self._coarse.dtype)", "get_dense_pe()"),
    Fault("sam2/points.py", "reshape(1, -1, 1, 1).to(self._coarse.dtype)", "reshape(1, -1, 1, 1)"),
    Fault("sam2/points.py", "self._image_tokens(dense.to(self._coarse.dtype))", "self._image_tokens(dense)"),
    Fault("sam2/points.py", "self._tokens(sparse).to(dtype)", "self._tokens(sparse)"),
    Fault("sam2/points.py", "tokens.float()", "tokens"),
    Fault("sam2/crop_decoder.py", ' if self.device.type == "cpu" else 0.0', ""),
    Fault(
        "sam2/crop_decoder.py",
        "on_device(to_network(points, self._size, self._decoder.image_size)[:, None], self.device)",
        "to_network(points, self._size, self._decoder.image_size)[:, None]",
    ),
    Fault("sam2/crop_decoder.py", "dtype=torch.int32, device=self.device)", "dtype=torch.int32)"),
    Fault("sam2/candidates.py", "on_host(masks.ious, *seen)", "(masks.ious, *seen)"),
    Fault(
        "sam2/measure.py", "on_host(torch.cat(parts))\n        return", "(torch.cat(parts),)\n        return"
    ),
    Fault("sam2/measure.py", "on_host(torch.cat(parts))\n    pixels", "(torch.cat(parts),)\n    pixels"),
    Fault("sam2/measure.py", "(torch.arange(side, device=logits.device)", "(torch.arange(side)"),
    # Objects
    Fault("objects/finding.py", "on_device(torch.from_numpy(rows), device)", "torch.from_numpy(rows)"),
    Fault("objects/finding.py", "scores.cpu()", 'scores.to("cpu", non_blocking=True)'),
    Fault("objects/pooling.py", "on_device(parts, features.device) @", "parts @"),
    Fault("objects/pooling.py", "features[on_device(cells, features.device)]", "features[cells]"),
    Fault(
        "objects/pooling.py",
        "features.new_zeros(len(masks), features.shape[1])",
        'torch.zeros(len(masks), features.shape[1], device="cuda")',
    ),
    Fault(
        "objects/describing.py",
        "every[on_device(torch.tensor(places), every.device)]",
        "every[torch.tensor(places)]",
    ),
    Fault("objects/describing.py", "self.network.channels, device=every.device)", "self.network.channels)"),
    Fault(
        "objects/describing.py",
        "found[on_device(torch.from_numpy(there), every.device)]",
        "found[torch.from_numpy(there)]",
    ),
    Fault("objects/sources.py", "len(self.prompts), device=self.loaded.device)", "len(self.prompts))"),
    Fault("objects/sources.py", "(home,) = on_host(ious)", "(home,) = (ious,)"),
    Fault("objects/peaks.py", "on_host(best.indices, best.values)", "(best.indices, best.values)"),
)
