// The five Lua scripts of the lock protocol. Runs in: Redis; the texts live in the worker.
//
// Rules that every one of them keeps:
//  * All keys come in KEYS, so that a Cluster node can judge them (the search for deadlocks, which
//    learns its keys on the way, excepted).
//  * Every check comes before the first write, and fences are written before locks: a script that
//    fails half-way keeps what it wrote. (The right to write every key in KEYS is judged by the
//    server before a script begins; a full or read-only server refuses the first write.)
//  * A value of another type under one of our keys is somebody else's, never an error: GET runs in
//    pcall. Any other error (no permission, say) is returned as it is.
//  * A lock key is read once more after our last write to it, because a write of ours takes it out
//    of the server's tracking table, and a read puts it in again.
//  * Numbers leave as text made by '%.0f': tostring() keeps 14 digits, a fence has 16.

#include "redis/lock_protocol.hpp"
#include "redis/sha1.hpp"

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

// look: what is under a lock key: its text, false = nothing, true = a value of another type; or nil
// and the error reply.
constexpr char kLook[] = R"lua(
local function look(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'table' then return value end
  if string.find(value.err, 'WRONGTYPE', 1, true) then return true end
  return nil, value
end
)lua";

// look_all: the same for many keys at once. A server that tracks (Redis 7.0) remembers all of KEYS
// at every read in a script, so a read for each key would cost the square of their number.
constexpr char kLookAll[] = R"lua(
local function look_all(keys)
  if #keys == 0 then return {} end
  local values = redis.pcall('MGET', unpack(keys))
  if values.err then return nil, values end
  local texts = 0
  for i = 1, #keys do
    if values[i] then texts = texts + 1 end
  end
  if texts < redis.call('EXISTS', unpack(keys)) then
    for i = 1, #keys do
      if not values[i] then
        local value, trouble = look(keys[i])
        if trouble then return nil, trouble end
        values[i] = value
      end
    end
  end
  return values
end
)lua";

// stored_fence: 0 when there is none, or something that cannot be raised by one.
constexpr char kFence[] = R"lua(
local limit = 9007199254740992
local function digits(number) return string.format('%.0f', number) end
local function fence_of(value)
  if type(value) == 'string' and #value <= 16 and string.find(value, '^%d+$') then
    local number = tonumber(value)
    if number + 1 < limit then return number end
  end
  return 0
end
local function stored_fence(key) return fence_of(redis.pcall('GET', key)) end
)lua";

// KEYS: lock, fence, gap of each key. ARGV: fence TTL, not_after, announce; then of each key token,
// prev, TTL, floor.
constexpr char kAcquireBody[] = R"lua(
local count = #KEYS / 3
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local not_after = tonumber(ARGV[2])
if not_after > 0 and now > not_after then return {'late', digits(now)} end

local function instance(token) return string.match(token, '^pg:([^:]+):') end

local locks, fence_keys, gap_keys = {}, {}, {}
for i = 1, count do
  locks[i], fence_keys[i], gap_keys[i] = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
end
local values, trouble = look_all(locks)
if trouble then return trouble end
local stored = redis.pcall('MGET', unpack(fence_keys))
if stored.err then return stored end
local any_gap = redis.call('EXISTS', unpack(gap_keys)) > 0

local fences, seen = {}, {}
for i = 1, count do
  local lock, token, prev = locks[i], ARGV[4 * i], ARGV[4 * i + 1]
  local value = values[i]
  if seen[lock] then return redis.error_reply('ERR inventory_lock: a key is named twice') end
  seen[lock] = true
  if value == true then
    return {'taken', digits(now), i, 'type', '', redis.call('PTTL', lock)}
  end
  if value ~= token then
    if value and (prev == '' or value ~= prev) then
      local holder = string.sub(value, 1, 256)
      local theirs = instance(holder)
      if ARGV[3] == '1' and theirs and theirs ~= instance(token) then
        redis.pcall('PUBLISH', 'il:recall:' .. theirs, lock)
      end
      return {'taken', digits(now), i, 'token', holder, redis.call('PTTL', lock)}
    end
    local gap = any_gap and redis.pcall('PTTL', gap_keys[i])
    if type(gap) == 'number' and gap > 0 then
      return {'taken', digits(now), i, 'gap', '', gap}
    end
  end
  local fence = math.max(fence_of(stored[i]) + 1, now, tonumber(ARGV[4 * i + 3]) + 1)
  if not (fence < limit) then
    return redis.error_reply('ERR inventory_lock: the fence is out of range')
  end
  if not (tonumber(ARGV[4 * i + 2]) >= 1) then
    return redis.error_reply('ERR inventory_lock: the TTL is out of range')
  end
  fences[i] = digits(fence)
end

for i = 1, count do redis.call('SET', fence_keys[i], fences[i], 'PX', ARGV[1]) end
for i = 1, count do
  local lock, token, ttl = locks[i], ARGV[4 * i], ARGV[4 * i + 2]
  if values[i] == token then
    redis.call('PEXPIRE', lock, ttl)
  elseif values[i] then
    redis.call('SET', lock, token, 'PX', ttl)
  else
    redis.call('SET', lock, token, 'PX', ttl, 'NX')
  end
end
redis.call('MGET', unpack(locks))
local answer = {'granted', digits(now)}
for i = 1, count do answer[i + 2] = fences[i] end
return answer
)lua";

// KEYS: locks. ARGV: of each key token, TTL. Answer: TIME, then 1 ours, 0 absent, -1 another's.
constexpr char kExtendBody[] = R"lua(
local clock = redis.call('TIME')
local answer = {string.format('%.0f', clock[1] * 1000000 + clock[2])}
local values, trouble = look_all(KEYS)
if trouble then return trouble end
for i = 1, #KEYS do
  if not (tonumber(ARGV[2 * i]) >= 1) then
    return redis.error_reply('ERR inventory_lock: the TTL is out of range')
  end
  local value = values[i]
  answer[i + 1] = value == ARGV[2 * i - 1] and 1 or value and -1 or 0
end
local ours = {}
for i = 1, #KEYS do
  if answer[i + 1] == 1 then
    redis.call('PEXPIRE', KEYS[i], ARGV[2 * i])
    ours[#ours + 1] = KEYS[i]
  end
end
if #ours > 0 then redis.call('MGET', unpack(ours)) end
return answer
)lua";

// KEYS: lock, fence, gap. ARGV: token, fence, gap TTL, fence TTL. Answer: 1 ours, 0 absent, -1
// another's. Freeing the key matters most and is allowed when memory is full; the fence and the gap
// are written as far as the server lets us.
constexpr char kReleaseBody[] = R"lua(
local value, trouble = look(KEYS[1])
if trouble then return trouble end
if value ~= ARGV[1] then return value and -1 or 0 end
local fence = tonumber(ARGV[2])
local raised = fence < limit and fence > stored_fence(KEYS[2])
redis.call('DEL', KEYS[1])
if raised then redis.pcall('SET', KEYS[2], digits(fence), 'PX', ARGV[4]) end
if tonumber(ARGV[3]) > 0 then redis.pcall('SET', KEYS[3], '1', 'PX', ARGV[3]) end
return 1
)lua";

// KEYS: lock, fence. ARGV: token, given, fence TTL. Answer: 1 and the fence; or 0 absent, -1
// another's.
constexpr char kRaiseBody[] = R"lua(
local value, trouble = look(KEYS[1])
if trouble then return trouble end
if value ~= ARGV[1] then return {value and -1 or 0} end
local fence = math.max(stored_fence(KEYS[2]), tonumber(ARGV[2])) + 1
if not (fence < limit) then
  return redis.error_reply('ERR inventory_lock: the fence is out of range')
end
redis.call('SET', KEYS[2], digits(fence), 'PX', ARGV[3])
return {1, digits(fence)}
)lua";

// KEYS: the key that is waited for. ARGV: life of an edge in ms, what to publish ("kind id fence
// key"), how deep to search (0 = not at all), then the tokens that the waiter holds. The keys of
// the search are learnt on the way, so they cannot stand in KEYS: in a Cluster each step is a call
// of its own.
constexpr char kWaitsBody[] = R"lua(
local own = {}
for i = 4, #ARGV do
  own[ARGV[i]] = true
  redis.call('SET', 'il:wait:' .. ARGV[i], ARGV[2], 'PX', ARGV[1])
end
local path, key = {}, KEYS[1]
for _ = 1, tonumber(ARGV[3]) do
  local token = look(key)
  if type(token) ~= 'string' or #token > 256 or string.sub(token, 1, 3) ~= 'pg:' then
    return {'open'}
  end
  if own[token] then return {'cycle', unpack(path)} end
  local edge = look('il:wait:' .. token)
  if type(edge) ~= 'string' then return {'open'} end
  local kind, id, fence, wanted = string.match(edge, '^(%u) (%d+) (%d+) (.+)$')
  if not kind then return {'open'} end
  path[#path + 1] = kind .. ' ' .. id .. ' ' .. fence
  key = wanted
end
return {'open'}
)lua";

// Literals end to end, at compile time.
template <size_t... kSizes>
constexpr auto Join(const char (&...parts)[kSizes]) {
    std::array<char, (... + (kSizes - 1))> whole{};
    size_t at = 0;
    auto append = [&](std::string_view part) {
        for (const char c : part) {
            whole[at++] = c;
        }
    };
    (append({parts, kSizes - 1}), ...);
    return whole;
}

template <size_t kSize>
constexpr std::string_view View(const std::array<char, kSize> &text) {
    return {text.data(), kSize};
}

constexpr auto kAcquire = Join(kLook, kLookAll, kFence, kAcquireBody);
constexpr auto kExtend = Join(kLook, kLookAll, kExtendBody);
constexpr auto kRelease = Join(kLook, kFence, kReleaseBody);
constexpr auto kRaise = Join(kLook, kFence, kRaiseBody);
constexpr auto kWaits = Join(kLook, kWaitsBody);

constexpr std::string_view kTexts[kScripts] = {View(kAcquire), View(kExtend), View(kRelease),
                                               View(kRaise), View(kWaits)};
constexpr std::array<char, 40> kShas[kScripts] = {Sha1Hex(kTexts[0]), Sha1Hex(kTexts[1]),
                                                  Sha1Hex(kTexts[2]), Sha1Hex(kTexts[3]),
                                                  Sha1Hex(kTexts[4])};

}  // namespace

std::string_view ScriptText(Script script) noexcept {
    return kTexts[static_cast<int>(script)];
}

std::string_view ScriptSha(Script script) noexcept {
    const std::array<char, 40> &sha = kShas[static_cast<int>(script)];
    return {sha.data(), sha.size()};
}

}  // namespace inventory_lock::redis
