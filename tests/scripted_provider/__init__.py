"""A provider of model replies that misbehaves on command: a real HTTP server, from the providers' documentation.

    with ScriptedProvider(Script(faults={"500": 0.05, "reset": 0.05})) as provider:
        ask it at provider.url, then look at provider.ledger

or as a process of its own, which outlives the kills of its client: ``python -m tests.scripted_provider '{"latency":
0.1}'`` (it prints its address; GET /ledger tells what it saw). What is modelled, and where it is documented:

- Error bodies `{"error": {"message", "type", "param", "code"}}`, 401 with part of the key repeated, 404
  `model_not_found`, 429 `rate_limit_exceeded` with and without Retry-After, 429 `insufficient_quota`: OpenAI, "Error
  codes", "Rate limits".
- 402 Insufficient Balance; empty lines while a request waits; `insufficient_system_resource` as a finish reason;
  `reasoning_content`: DeepSeek, "Error codes", "Rate limit", "Create chat completion".
- 403 for moderation with `metadata.reasons`, errors inside a 200, `reasoning` and `reasoning_details`, `usage.cost`:
  OpenRouter, "Errors", "Reasoning tokens", "Usage accounting".
- Errors as a list, 429 RESOURCE_EXHAUSTED with RetryInfo: Gemini, "OpenAI compatibility", "Rate limits".
- `reasoning_content`, later `reasoning`; 404 for an unknown model; a full queue without any 429: vLLM.
- Retry-After as seconds or date: RFC 9110, section 10.2.3.
"""

from tests.scripted_provider.script import Ledger, Script, Storm
from tests.scripted_provider.server import ScriptedProvider

__all__ = ["Ledger", "Script", "ScriptedProvider", "Storm"]
