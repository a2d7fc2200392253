import pytest
import torch

from vdalib.attributes.flow import MIXINGS, ActNorm, AffineCoupling, Chain, FlowStep, InvertibleNetwork, Permutation

DIM = 8


def scrambled(bijector, spread=0.3):
    """The bijector in evaluation mode, every parameter moved at random: nothing is the identity."""
    generator = torch.Generator().manual_seed(1)
    for parameter in bijector.parameters():
        parameter.data += spread * torch.randn(parameter.shape, generator=generator)
    return bijector.eval()


def samples(n=32, dim=DIM, dtype=torch.float64, seed=0):
    return torch.randn(n, dim, dtype=dtype, generator=torch.Generator().manual_seed(seed))


ORDER = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
BIJECTORS = {
    "ActNorm": lambda: ActNorm(DIM),
    "AffineCoupling": lambda: AffineCoupling(DIM),
    "narrow AffineCoupling": lambda: AffineCoupling(DIM, hidden=3, clamp=0.5),
    "Permutation": lambda: Permutation(ORDER),
    "Chain": lambda: Chain(ActNorm(DIM), Permutation(ORDER)),
    "FlowStep": lambda: FlowStep(DIM),
    "mixed FlowStep": lambda: FlowStep(DIM, order=ORDER),
    **{f"INN, {mixing}": lambda mixing=mixing: InvertibleNetwork(DIM, mixing=mixing) for mixing in MIXINGS},
}


@pytest.fixture(params=BIJECTORS)
def bijector(request):
    torch.manual_seed(0)
    return scrambled(BIJECTORS[request.param]())


def test_inverse_undoes_forward_in_float64(bijector):
    x = samples()
    z, _ = bijector.double()(x)
    assert (bijector.double().inverse(z) - x).abs().max() < 1e-9
    assert (bijector(bijector.inverse(x))[0] - x).abs().max() < 1e-9


def test_inverse_undoes_forward_in_float32(bijector):
    x = samples(dtype=torch.float32)
    assert (bijector.inverse(bijector(x)[0]) - x).abs().max() < 1e-4


def test_log_det_is_that_of_the_autograd_jacobian(bijector):
    bijector = bijector.double()
    for x in samples(5):
        jacobian = torch.autograd.functional.jacobian(lambda v: bijector(v)[0], x)
        assert (torch.linalg.slogdet(jacobian).logabsdet - bijector(x)[1]).abs() < 1e-8


def test_leading_dimensions_are_independent_samples(bijector):
    x = samples(12)
    z, log_det = bijector.double()(x)
    folded_z, folded_log_det = bijector(x.reshape(3, 4, DIM))
    assert folded_z.shape == (3, 4, DIM) and folded_log_det.shape == (3, 4)
    torch.testing.assert_close(folded_z.reshape(12, DIM), z)
    torch.testing.assert_close(folded_log_det.reshape(12), log_det)
    torch.testing.assert_close(bijector.inverse(folded_z).reshape(12, DIM), x)


def test_every_parameter_gets_a_gradient_from_z_and_log_det(bijector):
    z, log_det = bijector.double()(samples().requires_grad_())
    (z.square().sum() - log_det.sum()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in bijector.parameters())


def test_saved_weights_restore_the_same_bijection(bijector):
    x = samples(dtype=torch.float32)
    expected = bijector(x)
    state = {name: value.clone() for name, value in bijector.state_dict().items()}
    for parameter in bijector.parameters():
        parameter.data.zero_()
    bijector.load_state_dict(state)
    torch.testing.assert_close(bijector(x), expected)


@pytest.mark.parametrize("mixing", MIXINGS)
def test_wide_network_inverts_in_float32_at_the_width_of_clip(mixing):
    torch.manual_seed(0)
    flow = scrambled(InvertibleNetwork(512, mixing=mixing), spread=0.01)
    x = torch.nn.functional.normalize(samples(16, 512, torch.float32), dim=-1)
    assert (flow.inverse(flow(x)[0]) - x).abs().max() < 1e-4


def test_actnorm_gives_its_first_batch_zero_mean_and_unit_variance():
    x = 3 + 0.02 * samples(16)
    z, log_det = ActNorm(DIM).double()(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(DIM).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(DIM).double())
    torch.testing.assert_close(log_det, -x.std(0, correction=0).log().sum().expand(16))


def test_every_actnorm_of_the_network_normalises_the_first_batch():
    torch.manual_seed(0)
    x = torch.nn.functional.normalize(5 + samples(16), dim=-1)
    z, _ = InvertibleNetwork(DIM).double()(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(DIM).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(DIM).double())


def test_actnorm_initialises_once_in_training_mode_only_and_remembers_it_in_its_state():
    norm = ActNorm(DIM).double()
    first, later = samples(seed=1), 5 + samples(seed=2)
    torch.testing.assert_close(norm.eval()(first)[0], first)
    assert not norm.initialised
    flag = norm.initialised
    norm.train()(first)
    assert flag, "the buffer must be filled in place"
    shift = norm.shift.clone()
    norm(later)
    torch.testing.assert_close(norm.shift, shift)
    restored = ActNorm(DIM).double()
    restored.load_state_dict(norm.state_dict())
    torch.testing.assert_close(restored.train()(later)[0], norm(later)[0])


def test_actnorm_bounds_the_scale_of_a_channel_that_does_not_vary():
    x = samples()
    x[:, 0] = 0.25
    norm = ActNorm(DIM, min_std=1e-2).double()
    z, _ = norm(x)
    torch.testing.assert_close(norm.log_scale[0].exp(), torch.tensor(100.0).double())
    torch.testing.assert_close(z[:, 0], torch.zeros(len(x)).double(), atol=1e-12, rtol=0)


def test_actnorm_refuses_to_initialise_on_one_vector():
    with pytest.raises(ValueError, match="at least 2 vectors.*found 1"):
        ActNorm(DIM)(samples(1, dtype=torch.float32))


def test_coupling_starts_as_the_identity():
    z, log_det = AffineCoupling(DIM).double()(samples())
    assert torch.equal(z, samples()) and torch.equal(log_det, torch.zeros(32).double())


def test_coupling_is_the_formula_of_the_appendix():
    coupling = scrambled(AffineCoupling(4, hidden=2, clamp=1.9)).double()
    u = samples(1, 4)[0]

    def network(layers, v):
        for i, layer in enumerate(layers):
            rows = zip(layer.weight.tolist(), layer.bias.tolist())
            v = [sum(w * a for w, a in zip(row, v)) + bias for row, bias in rows]
            v = [max(a, 0.0) for a in v] if i < len(layers) - 1 else v
        return torch.tensor(v, dtype=torch.float64)

    u1, u2 = u[:2], u[2:]
    s = 1.9 * torch.tanh(network(coupling.scale[::2], u1.tolist()) / 1.9)
    expected = torch.cat([u1, u2 * torch.exp(s) + network(coupling.translation[::2], u1.tolist())])
    torch.testing.assert_close(coupling(u)[0], expected)


def test_clamp_bounds_the_log_scale_per_channel():
    coupling = scrambled(AffineCoupling(DIM, clamp=0.5), spread=50).double()
    _, log_det = coupling(samples())
    assert log_det.abs().max() <= 0.5 * DIM / 2 + 1e-9 and log_det.abs().max() > 0.4 * DIM / 2


def test_without_mixing_half_of_the_channels_pass_with_an_affine_map_only():
    flow = scrambled(InvertibleNetwork(DIM, mixing="none")).double()
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v)[0], samples(1)[0])
    first = jacobian[: DIM // 2]
    torch.testing.assert_close(first, torch.diag(first.diagonal()) @ torch.eye(DIM // 2, DIM).double())


@pytest.mark.parametrize("mixing", ["permute", "swap"])
def test_with_mixing_every_output_depends_on_other_inputs_and_not_affinely(mixing):
    flow = scrambled(InvertibleNetwork(DIM, mixing=mixing)).double()
    at = [torch.autograd.functional.jacobian(lambda v: flow(v)[0], x) for x in samples(2)]
    assert ((at[0] != 0).sum(1) > 1).all()
    assert ((at[0] - at[1]).abs().amax(1) > 1e-6).all()


def test_permutations_are_fixed_by_the_seed_and_differ_between_steps():
    flows = [InvertibleNetwork(DIM, mixing="permute", seed=seed) for seed in (0, 0, 1)]
    orders = [[step.mixing.order.tolist() for step in flow] for flow in flows]
    assert orders[0] == orders[1] != orders[2]
    assert len({tuple(order) for order in orders[0]}) > 1


def test_global_random_state_is_not_touched_by_the_permutations():
    torch.manual_seed(3)
    plain = InvertibleNetwork(DIM, mixing="none")
    torch.manual_seed(3)
    permuted = InvertibleNetwork(DIM, mixing="permute")
    for a, b in zip(plain.parameters(), permuted.parameters()):
        assert torch.equal(a, b)


def test_odd_width_unknown_mixing_and_wrong_input_are_refused():
    with pytest.raises(ValueError, match="dim: expected an even number.*found 7"):
        InvertibleNetwork(7)
    with pytest.raises(ValueError, match="mixing: expected one of none, swap, permute, found 'shuffle'"):
        InvertibleNetwork(DIM, mixing="shuffle")
    with pytest.raises(ValueError, match=r"x: expected \(..., 8\), found \(2, 6\)"):
        InvertibleNetwork(DIM)(torch.zeros(2, 6))
