"""Every exact factorisation against the dense update written naively."""

import pytest
import torch

from lora_loom.pipelines.adapters.algebra import Product, dense, hadamard, kronecker, shortest, take_rows, with_core


@pytest.fixture
def random(generator):
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def matrix(product: Product) -> torch.Tensor:
    return product.up @ product.down


def test_dense_is_the_matrix_itself_at_the_smallest_rank(random, subtests):
    for shape in [(3, 5), (5, 3), (4, 4), (1, 6)]:
        with subtests.test(shape=shape):
            weight = random(*shape)
            product = dense(weight)
            assert torch.equal(matrix(product), weight)
            assert product.up.shape[1] == min(shape)


def test_shortest_keeps_a_low_rank_and_folds_a_high_one(random):
    low, high = Product(random(6, 2), random(2, 5)), Product(random(6, 9), random(9, 5))
    assert shortest(low) is low
    folded = shortest(high)
    assert folded.up.shape[1] == 5
    torch.testing.assert_close(matrix(folded), matrix(high))


def test_hadamard_is_the_elementwise_product(random, subtests):
    for r1, r2, rank in [(1, 1, 1), (2, 2, 4), (1, 3, 3), (3, 4, 7)]:
        with subtests.test(r1=r1, r2=r2, rank=rank):
            first, second = Product(random(9, r1), random(r1, 7)), Product(random(9, r2), random(r2, 7))
            product = hadamard(first, second)
            assert product.up.shape[1] == rank
            torch.testing.assert_close(matrix(product), matrix(first) * matrix(second))


def test_kronecker_is_torch_kron(random, subtests):
    for decomposed in ["neither", "first", "second", "both"]:
        with subtests.test(decomposed=decomposed):
            first, second = dense(random(2, 3)), dense(random(5, 4))
            if decomposed in ("first", "both"):
                first = Product(random(2, 1), random(1, 3))
            if decomposed in ("second", "both"):
                second = Product(random(5, 2), random(2, 4))
            product = kronecker(first, second)
            assert product.up.shape[1] == first.up.shape[1] * second.up.shape[1]
            torch.testing.assert_close(matrix(product), torch.kron(matrix(first), matrix(second)))


def test_with_core_is_the_tucker_form(random):
    core, up, down = random(3, 2, 3, 3), random(6, 3), random(2, 4)
    expected = torch.einsum("mp,pqkl,qn->mnkl", up, core, down)
    torch.testing.assert_close(matrix(with_core(core, up, down)).reshape(6, 4, 3, 3), expected)


def test_take_rows_permutes_and_drops_ranks_of_other_rows(random):
    block_diagonal = Product(torch.block_diag(random(2, 1), random(3, 2)), random(3, 4))
    part = take_rows(block_diagonal, ((2, 5),))
    assert part.up.shape == (3, 2)
    assert torch.equal(matrix(part), matrix(block_diagonal)[2:])
    swapped = take_rows(block_diagonal, ((2, 5), (0, 2)))
    torch.testing.assert_close(matrix(swapped), matrix(block_diagonal)[[2, 3, 4, 0, 1]])


def test_take_rows_of_an_untrained_part_keeps_one_rank(random):
    part = take_rows(Product(torch.zeros(4, 3, dtype=torch.float64), random(3, 4)), ((0, 2),))
    assert part.up.shape == (2, 1)
    assert not matrix(part).any()
