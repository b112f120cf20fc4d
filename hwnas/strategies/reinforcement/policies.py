"""Policies: distributions over architectures, one for each aim, with parameters that gradients move.

Shapes: N architectures, C choices, O most options of a choice, A aims, H units of the LSTM.
"""

from collections.abc import Mapping, Sequence
from typing import Final, final

import torch
from torch import Tensor, nn

# ENAS (Pham et al. 2018): units of the LSTM, range of the first weights, and logits = 2.5 tanh(logits / 5).
UNITS: Final = 100
INITIAL: Final = 0.1
TEMPERATURE: Final = 5.0
TANH_CONSTANT: Final = 2.5
# The logit of an option that a choice lacks.
NEVER: Final = -1e9


class Policy(nn.Module):
    """A distribution over rows of option indices. Subclasses give the logits; all randomness is the caller's generator's."""

    lacking_CO: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        lacking_CO = torch.arange(max(sizes)) >= torch.tensor(sizes)[:, None]
        self.register_buffer("lacking_CO", lacking_CO)

    def draw(self, aims_N: Tensor, generator: torch.Generator) -> Tensor:
        """Returns a row for every aim; shape (N, C)."""
        raise NotImplementedError

    def log_probabilities(self, rows_NC: Tensor, aims_N: Tensor) -> Tensor:
        """Returns the log-probability of every option, given the options of the choices before it; shape (N, C, O)."""
        raise NotImplementedError


@final
class FactorisedPolicy(Policy):
    """Independent logits of every choice, which begin at zero: the first draws are uniform."""

    def __init__(self, sizes: Sequence[int], aims: int, generator: torch.Generator) -> None:
        super().__init__(sizes)
        self.logits_ACO = nn.Parameter(torch.zeros(aims, len(sizes), max(sizes)))

    def draw(self, aims_N: Tensor, generator: torch.Generator) -> Tensor:
        probabilities_NCO = self._log_probabilities(aims_N).exp()
        return torch.multinomial(probabilities_NCO.flatten(0, 1), 1, generator=generator).view(len(aims_N), -1)

    def log_probabilities(self, rows_NC: Tensor, aims_N: Tensor) -> Tensor:
        return self._log_probabilities(aims_N)

    def _log_probabilities(self, aims_N: Tensor) -> Tensor:
        return self.logits_ACO.masked_fill(self.lacking_CO, NEVER)[aims_N].log_softmax(dim=-1)


@final
class RecurrentPolicy(Policy):
    """The controller of ENAS: an LSTM reads the option of the choice before, and its state gives the logits of the next.

    The first input says the aim, where ENAS, which has one, begins with zeros.
    """

    def __init__(self, sizes: Sequence[int], aims: int, generator: torch.Generator) -> None:
        super().__init__(sizes)
        self.aim_AH = nn.Parameter(torch.empty(aims, UNITS))
        self.option_COH = nn.Parameter(torch.empty(len(sizes), max(sizes), UNITS))
        self.decoder_CHO = nn.Parameter(torch.empty(len(sizes), UNITS, max(sizes)))
        # On `meta` no weights are drawn: they would come from the global generator.
        self.lstm = nn.LSTM(UNITS, UNITS, batch_first=True, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-INITIAL, INITIAL, generator=generator)

    def draw(self, aims_N: Tensor, generator: torch.Generator) -> Tensor:
        drawn: list[Tensor] = []
        input_NH, memory = self.aim_AH[aims_N], None
        for choice in range(len(self.option_COH)):
            state_N1H, memory = self.lstm(input_NH[:, None], memory)
            probabilities_NO = self._options(state_N1H, slice(choice, choice + 1))[:, 0].exp()
            drawn.append(torch.multinomial(probabilities_NO, 1, generator=generator)[:, 0])
            input_NH = self.option_COH[choice, drawn[-1]]
        return torch.stack(drawn, dim=1)

    def log_probabilities(self, rows_NC: Tensor, aims_N: Tensor) -> Tensor:
        return self._options(self.states(rows_NC, aims_N), slice(None))

    def states(self, rows_NC: Tensor, aims_N: Tensor) -> Tensor:
        """Returns the LSTM's hidden states from which each choice is drawn; shape (N, C, H)."""
        read_NCH = self.option_COH[torch.arange(rows_NC.shape[1]), rows_NC]
        inputs_NCH = torch.cat([self.aim_AH[aims_N][:, None], read_NCH[:, :-1]], dim=1)
        states_NCH: Tensor = self.lstm(inputs_NCH)[0]
        return states_NCH

    def _options(self, states_NCH: Tensor, choices: slice) -> Tensor:
        """Returns log-probabilities of the options of some choices; shape (N, choices, O)."""
        logits_NCO = torch.einsum("nch,cho->nco", states_NCH, self.decoder_CHO[choices])
        bounded_NCO = TANH_CONSTANT * torch.tanh(logits_NCO / TEMPERATURE)
        return bounded_NCO.masked_fill(self.lacking_CO[choices], NEVER).log_softmax(dim=-1)


POLICIES: Final[Mapping[str, type[FactorisedPolicy | RecurrentPolicy]]] = {
    "factorised": FactorisedPolicy,
    "recurrent": RecurrentPolicy,
}
