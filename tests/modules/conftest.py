import pytest
import torch


@pytest.fixture
def phase_swirl(ready_swirl):
    """Makes a SWIRL with weights far enough from uniform to matter, ready for one call of a phase's step."""

    def make(phase="vim", *, scale=3.0, **options):
        model, data = ready_swirl(phase, **options)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for name in model.weights.names:
                for parameter in model.weights.named(name).values():
                    parameter.add_(0.02 * scale * torch.randn(parameter.shape, generator=generator))
        return model, data

    return make


@pytest.fixture
def whole_text_logps():
    """Log-probs of the tokens after the prompt, from a whole text through a policy's Hugging Face model."""

    def compute(policy, prompt, row):
        ids = torch.tensor([tuple(prompt) + tuple(row)])
        logp = torch.log_softmax(policy.weights.activate(policy.name)(input_ids=ids).logits[0, :-1], -1)
        return logp.gather(1, ids[0, 1:, None])[len(prompt) - 1 :, 0]

    return compute


@pytest.fixture
def spy():
    """Replaces a method by one that also keeps its positional arguments, keyword arguments and result."""

    def watch(owner, name):
        calls, original = [], getattr(owner, name)

        def wrapper(*args, **kwargs):
            result = original(*args, **kwargs)
            calls.append((args, kwargs, result))
            return result

        setattr(owner, name, wrapper)
        return calls

    return watch
