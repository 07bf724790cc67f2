"""The networks of translation in PyTorch, layer by layer as in `ganlib.models`, and a plain training step."""

from collections.abc import Callable

import torch
from torch import nn

from ganlib.models import ResnetTranslator, Unet

L1_WEIGHT, RATE, BETAS = 100.0, 2e-4, (0.5, 0.999)


def resnet_translator(model: ResnetTranslator, *, channels: int) -> nn.Module:
    """Returns the generator of `ResnetTranslator`."""
    width = model.width
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), *_norm_relu(width)]
    for _ in range(2):
        layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), *_norm_relu(2 * width)]
        width *= 2
    layers += [Block(width) for _ in range(model.blocks)]
    for _ in range(2):
        layers += [*_upsample(width, width // 2, bias=True), *_norm_relu(width // 2)]
        width //= 2
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh())


class Block(nn.Module):
    """A residual block of `ResnetTranslator`.

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        convolutions = [[nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3)] for _ in range(2)]
        self.inner = nn.Sequential(*convolutions[0], *_norm_relu(width), *convolutions[1], nn.InstanceNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the inner layers."""
        return x + self.inner(x)


class TorchUnet(nn.Module):
    """The generator of `Unet`, with batch norm.

    Args:
        model: The architecture.
        size: Side of the images.
        channels: Channels of the images.
    """

    def __init__(self, model: Unet, *, size: int, channels: int) -> None:
        super().__init__()
        depth = model.levels((size, size, channels))
        widths = [model.channels(level) for level in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            last = level == depth - 1
            before = channels if level == 0 else widths[level - 1]
            norm = [] if level == 0 or (last and size == 2**depth) else [nn.BatchNorm2d(width)]
            self.down.append(nn.Sequential(nn.Conv2d(before, width, 4, stride=2, padding=1, bias=False), *norm))
        self.slopes = [0.2] * (depth - 1) + [0.0]
        for level in reversed(range(1, depth)):
            before, width = widths[level] * (1 if level == depth - 1 else 2), widths[level - 1]
            dropout = [nn.Dropout(model.dropout)] if depth - level <= 3 else []
            self.up.append(nn.Sequential(*_upsample(before, width, bias=False), nn.BatchNorm2d(width), *dropout))
        self.last = nn.Sequential(*_upsample(2 * widths[0], channels, bias=True), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encodes, and decodes with the encoder's maps."""
        maps = []
        for layer, slope in zip(self.down, self.slopes, strict=True):
            x = layer(x)
            maps.append(x)
            x = nn.functional.leaky_relu(x, slope)
        for layer, kept in zip(self.up, reversed(maps[:-1]), strict=True):
            x = torch.relu(torch.cat([kept, layer(x)], dim=1))
        return self.last(x)


def patch_discriminator(model: ResnetTranslator | Unet, *, channels: int) -> nn.Module:
    """Returns the discriminator, with instance norm, for images and conditions that lie in one tensor."""
    count, width = model.discriminator_layers, model.discriminator_width
    layers, before = [], channels
    for layer in range(count + 1):
        now = width * min(2**layer, 8)
        norm = [nn.InstanceNorm2d(now)] if layer > 0 else []
        layers += [nn.Conv2d(before, now, 4, stride=2 if layer < count else 1, padding=1), *norm, nn.LeakyReLU(0.2)]
        before = now
    return nn.Sequential(*layers, nn.Conv2d(before, 1, 4, padding=1))


def training_step(
    generator: nn.Module, discriminator: nn.Module, images: torch.Tensor, targets: torch.Tensor, *, bfloat16: bool
) -> Callable[[], None]:
    """Returns a function that makes one step of paired translation: the discriminator, then the generator.

    Args:
        generator: From images to targets.
        discriminator: For image and target in one tensor.
        images: float32 [N, C, H, W].
        targets: The same shape.
        bfloat16: Whether to compute in bfloat16 where PyTorch's autocast does.
    """
    networks = [network.to(memory_format=torch.channels_last) for network in (generator, discriminator)]
    optimizers = [torch.optim.Adam(network.parameters(), RATE, betas=BETAS) for network in networks]
    images, targets = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (images, targets))

    def loss(logits: torch.Tensor, target: float) -> torch.Tensor:
        logits = logits.float()
        return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def judge(candidates: torch.Tensor) -> torch.Tensor:
        return discriminator(torch.cat([candidates, images], dim=1))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            fakes = generator(images)
            discriminator_loss = loss(judge(targets), 1.0) + loss(judge(fakes.detach()), 0.0)
        optimizers[1].zero_grad(set_to_none=True)
        discriminator_loss.backward()
        optimizers[1].step()
        discriminator.requires_grad_(requires_grad=False)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            difference = (fakes.float() - targets).abs().mean()
            generator_loss = loss(judge(fakes), 1.0) + L1_WEIGHT * difference
        optimizers[0].zero_grad(set_to_none=True)
        generator_loss.backward()
        optimizers[0].step()
        discriminator.requires_grad_(requires_grad=True)

    return step


def _norm_relu(width: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(width), nn.ReLU()]


def _upsample(before: int, after: int, *, bias: bool) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.Conv2d(before, after, 3, bias=bias)]
