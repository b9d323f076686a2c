import torch

from accord.diffusion.noise import gaussian


def test_a_row_depends_on_its_address_alone():
    addresses = [5, 2**62, 11, 5]
    batch = gaussian(addresses, (4, 8, 8))
    assert batch.shape == (4, 4, 8, 8)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[0], batch[3])
    for row, seed in zip(batch, addresses, strict=True):
        assert torch.equal(row, gaussian([seed], (4, 8, 8))[0])


def test_a_row_equals_torch_randn_of_its_generator():
    theirs = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(123))
    assert torch.equal(gaussian([123], (4, 8, 8)), theirs)


def test_it_neither_reads_nor_moves_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = gaussian([7], (3, 4, 4))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(gaussian([7], (3, 4, 4)), first)


def test_it_is_standard_normal_and_addresses_are_independent():
    draws = gaussian(range(200), (4, 16, 16)).flatten(1).double()  # 204,800 numbers
    assert abs(draws.mean().item()) < 4 / 204_800**0.5
    assert abs(draws.var().item() - 1) < 4 * (2 / 204_800) ** 0.5
    products = draws[::2] @ draws[1::2].T / 1024  # correlations of 10,000 pairs of rows
    assert products.abs().max().item() < 6 / 1024**0.5


def test_no_addresses_give_no_rows():
    assert gaussian([], (4, 2, 2)).shape == (0, 4, 2, 2)
