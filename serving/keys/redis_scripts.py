"""What the shared store does in one step: Lua, run by the server, with the server's clock.

One hash for each key of the gateway: the running minute and the one before, and each kind of budget period.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

_BEGIN = """
local given = tonumber(ARGV[1])
local function clock()
  if given then return given end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function whole(number) return string.format('%.0f', number) end
local function numbers(...)
  local found = redis.call('HMGET', KEYS[1], ...)
  for place = 1, #found do found[place] = tonumber(found[place] or '0') end
  return found
end
local function period_start(period, now)
  local day = math.floor(now / 86400)
  if period == 'forever' then return 0 end
  if period == 'day' then return day * 86400 end
  local since = day + 719468  -- days since 1 March of the year 0; Hinnant, chrono-compatible date algorithms
  local of_era = since - math.floor(since / 146097) * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * of_year + 2) / 153)
  return (day - (of_year - math.floor((153 * month + 2) / 5))) * 86400
end
"""

# ARGV: time, period, tokens, and the three limits; an empty one is none. A clock that goes back stands still.
# Where it goes back by more than a minute it had jumped ahead: what was counted then counts from now on. That
# is written down even for who is refused, or nobody would be let in until that time comes.
_RESERVE = """
local period, tokens = ARGV[2], tonumber(ARGV[3])
local rate, token_rate, budget = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = clock()
local kept = numbers('minute', 'requests', 'tokens', 'before_requests', 'before_tokens',
  period .. '_start', period .. '_requests', period .. '_tokens')
local minute = math.floor(now / 60) * 60
if kept[1] - minute > 60 then
  kept[1], kept[4], kept[5] = minute, 0, 0
  redis.call('HSET', KEYS[1], 'minute', whole(minute), 'before_requests', '0', 'before_tokens', '0')
end
local requests, used, before_requests, before = kept[2], kept[3], kept[4], kept[5]
if minute > kept[1] then
  local is_next = minute - kept[1] == 60
  before_requests, before = is_next and requests or 0, is_next and used or 0
  requests, used = 0, 0
else
  minute = kept[1]
  now = math.max(now, minute)
end
local start, spent_requests, spent = period_start(period, now), kept[7], kept[8]
if kept[6] - now > 60 then
  kept[6] = start
  redis.call('HSET', KEYS[1], period .. '_start', whole(start))
end
if start > kept[6] then spent_requests, spent = 0, 0 else start = kept[6] end
local share = 1 - (now - minute) / 60
local wait = whole(minute + 60 - math.floor(now))
if rate and requests + before_requests * share + 1 > rate then return {'requests_per_minute', wait} end
if token_rate and used + before * share + tokens > token_rate then return {'tokens_per_minute', wait} end
if budget and spent + tokens > budget then return {'budget', whole(spent)} end
redis.call('HSET', KEYS[1], 'minute', whole(minute), 'requests', whole(requests + 1),
  'tokens', whole(used + tokens), 'before_requests', whole(before_requests), 'before_tokens', whole(before),
  period .. '_start', whole(start), period .. '_requests', whole(spent_requests + 1),
  period .. '_tokens', whole(spent + tokens))
return {'ok', whole(minute), whole(start)}
"""

# ARGV: time, period, tokens more (fewer, if negative), the minute and the period's start they are counted in.
_SETTLE = """
local period, more, minute, start = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local kept = numbers('minute', 'tokens', 'before_tokens', period .. '_start', period .. '_tokens')
local function count(field, was) redis.call('HSET', KEYS[1], field, whole(math.max(0, was + more))) end
if minute == kept[1] then count('tokens', kept[2]) end
if minute == kept[1] - 60 then count('before_tokens', kept[3]) end
if start == kept[4] or start < 0 then count(period .. '_tokens', kept[5]) end
return 'ok'
"""

# ARGV: time, period.
_USED = """
local kept = numbers(ARGV[2] .. '_start', ARGV[2] .. '_requests', ARGV[2] .. '_tokens')
if period_start(ARGV[2], clock()) > kept[1] then return {'0', '0'} end
return {whole(kept[2]), whole(kept[3])}
"""


@dataclass(frozen=True)
class Script:
    """One step of the server."""

    text: str

    @cached_property
    def digest(self) -> str:
        """The name by which the server knows it, SHA-1 as 40 hex digits."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


RESERVE, SETTLE, USED = (Script(_BEGIN + text) for text in (_RESERVE, _SETTLE, _USED))
