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

// A key that several clusters share has the text "pg:intents:" and, of each, token=end, separated
// by commas; end is the millisecond of the server's clock from which on the token counts no more.
// intents: the list, nil for any other value. find: the place of a token in it. share: writes the
// list anew without what has ended and without two tokens, with a fresh one if `ends` is given;
// the key lives as long as its last token, and goes with it. Returns the error when the server
// does not let us write (it is full), and how many ms the key should have lived.
constexpr char kShare[] = R"lua(
local function intents(value)
  if type(value) ~= 'string' or string.sub(value, 1, 11) ~= 'pg:intents:' then return nil end
  local list = {}
  for token, ends in string.gmatch(string.sub(value, 12), '([^=,]+)=(%d+)') do
    list[#list + 1] = {token, tonumber(ends)}
  end
  return list
end
local function find(list, token)
  for i = 1, list and #list or 0 do
    if list[i][1] == token then return i end
  end
  return nil
end
local function share(key, list, now_ms, prev, token, ends)
  local text, last = {}, 0
  local function add(one_token, one_ends)
    text[#text + 1] = one_token .. '=' .. string.format('%.0f', one_ends)
    last = math.max(last, one_ends)
  end
  for _, one in ipairs(list) do
    if one[2] > now_ms and one[1] ~= prev and one[1] ~= token then add(one[1], one[2]) end
  end
  if ends then add(token, ends) end
  local life = string.format('%.0f', last - now_ms)
  if #text == 0 then
    redis.call('DEL', key)
    return nil
  end
  local done = redis.pcall('SET', key, 'pg:intents:' .. table.concat(text, ','), 'PX', life)
  return done.err and done, life
end
)lua";

// The most common request, before any function is made, for making them costs more than it does:
// keys for oneself, and there is neither any of them nor a gap. Whatever else, nothing being
// written yet, goes the general way below. One command stores a fence and reads the earlier one,
// for at a read a server that tracks (Redis 7.0) remembers all of KEYS; if the earlier one was not
// lower, the fence is put right before the locks are set.
constexpr char kPlainAcquire[] = R"lua(
if ARGV[2] == '0' then
  local clock = redis.call('TIME')
  local now = clock[1] * 1000000 + clock[2]
  local now_text = string.format('%.0f', now)
  local answer, names, count = {'granted', now_text}, {}, #KEYS / 3
  for i = 1, count do
    local lock, fence = KEYS[3 * i - 2], tonumber(ARGV[4 * i + 3])
    if not fence or fence + 1 >= 9007199254740992 or tonumber(ARGV[4 * i + 2]) < 1 or
       names[lock] or string.find(lock, 'inventory_lock:product:', 1, true) == 1 then
      names = nil
      break
    end
    names[lock], names[i], names[count + i] = true, lock, KEYS[3 * i]
    answer[i + 2] = fence < now and now_text or string.format('%.0f', fence + 1)
  end
  if names and redis.pcall('EXISTS', unpack(names, 1, 2 * count)) == 0 then
    for i = 1, count do
      local key, text = KEYS[3 * i - 1], answer[i + 2]
      local stored = redis.pcall('SET', key, text, 'PX', ARGV[1], 'GET')
      if stored then
        local number = type(stored) == 'string' and tonumber(stored)
        if number and number >= (text == now_text and now or tonumber(text)) and
           number + 1 < 9007199254740992 and #stored <= 16 and string.find(stored, '^%d+$') then
          text = string.format('%.0f', number + 1)
          answer[i + 2] = text
          redis.call('SET', key, text, 'PX', ARGV[1])
        elseif type(stored) == 'table' then
          redis.call('SET', key, text, 'PX', ARGV[1])
        end
      end
    end
    for i = 1, count do
      redis.call('SET', names[i], ARGV[4 * i], 'PX', ARGV[4 * i + 2], 'NX')
    end
    redis.call('EXISTS', unpack(names, 1, count))
    answer[count + 3] = ARGV[4]
    return answer
  end
end
)lua";

// KEYS: lock, fence, gap of each key. ARGV: fence TTL, not_after, announce (0: no; else how many
// ms); then of each key token, prev, TTL, floor. A key to be shared has "intent" for a floor, and
// where the fence would be the key by which somebody says that he wants it alone. (Who wants it so
// makes that key's name from the gap's, which is in the same slot.) Every answer ends with the
// first token: an answer that is not to this request is not taken for one.
constexpr char kAcquireBody[] = R"lua(
local count = #KEYS / 3
local announce = tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local not_after = tonumber(ARGV[2])
if not_after > 0 and now > not_after then return {'late', digits(now), ARGV[4]} end

local now_ms = math.floor(now / 1000)

local function instance(token) return string.match(token, '^pg:([^:]+):') end
local function recall(holder, token, lock)
  local theirs = instance(holder)
  if announce > 0 and theirs and theirs ~= instance(token) then
    redis.pcall('PUBLISH', 'il:recall:' .. theirs, lock)
  end
end
local function want_key(gap_key) return 'il:want:' .. string.sub(gap_key, 8) end

local locks, fence_keys, gap_keys = {}, {}, {}
for i = 1, count do
  locks[i], fence_keys[i], gap_keys[i] = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
end
local values, trouble = look_all(locks)
if trouble then return trouble end
local stored = redis.pcall('MGET', unpack(fence_keys))
if stored.err then return stored end
local any_gap = redis.call('EXISTS', unpack(gap_keys)) > 0

local fences, seen, lists = {}, {}, {}
for i = 1, count do
  local lock, token, prev = locks[i], ARGV[4 * i], ARGV[4 * i + 1]
  local value = values[i]
  if seen[lock] then return redis.error_reply('ERR inventory_lock: a key is named twice') end
  seen[lock] = true
  if value == true then
    return {'taken', digits(now), i, 'type', '', redis.call('PTTL', lock), ARGV[4]}
  end
  local intent = ARGV[4 * i + 3] == 'intent'
  local list = intents(value)
  if intent and not value then list = {} end
  if value ~= token and not (intent and (find(list, token) or find(list, prev))) then
    if value and (prev == '' or value ~= prev) and not (intent and list) then
      if list then
        for _, one in ipairs(list) do recall(one[1], token, lock) end
        if announce > 0 then
          redis.pcall('SET', want_key(gap_keys[i]), token, 'PX', ARGV[3])
        end
      else
        recall(value, token, lock)
      end
      local holder = string.sub(list and list[1] and list[1][1] or value, 1, 256)
      return {'taken', digits(now), i, 'token', holder, redis.call('PTTL', lock), ARGV[4]}
    end
    local gap = any_gap and redis.pcall('PTTL', gap_keys[i])
    if type(gap) == 'number' and gap > 0 then
      return {'taken', digits(now), i, 'gap', '', gap, ARGV[4]}
    end
    local want = intent and stored[i]
    if want and instance(want) ~= instance(token) then
      return {'taken', digits(now), i, 'gap', '', redis.call('PTTL', fence_keys[i]), ARGV[4]}
    end
  end
  lists[i] = intent and list
  local fence = intent and now or math.max(fence_of(stored[i]) + 1, now, tonumber(ARGV[4 * i + 3]) + 1)
  if not (fence < limit) then
    return redis.error_reply('ERR inventory_lock: the fence is out of range')
  end
  if not (tonumber(ARGV[4 * i + 2]) >= 1) then
    return redis.error_reply('ERR inventory_lock: the TTL is out of range')
  end
  fences[i] = digits(fence)
end

for i = 1, count do
  if not lists[i] then redis.call('SET', fence_keys[i], fences[i], 'PX', ARGV[1]) end
end
for i = 1, count do
  local lock, token, ttl = locks[i], ARGV[4 * i], ARGV[4 * i + 2]
  if lists[i] then
    local refused = share(lock, lists[i], now_ms, ARGV[4 * i + 1], token, now_ms + ttl)
    if refused then return refused end
  elseif values[i] == token then
    redis.call('PEXPIRE', lock, ttl)
  elseif values[i] then
    redis.call('SET', lock, token, 'PX', ttl)
  else
    redis.call('SET', lock, token, 'PX', ttl, 'NX')
    if string.sub(lock, 1, 23) == 'inventory_lock:product:' then
      redis.call('DEL', want_key(gap_keys[i]))
    end
  end
end
redis.call('MGET', unpack(locks))
local answer = {'granted', digits(now)}
for i = 1, count do answer[i + 2] = fences[i] end
answer[count + 3] = ARGV[4]
return answer
)lua";

// KEYS: locks. ARGV: of each key token, TTL (-1: only look). Answer: TIME, then 1 ours, 0 absent,
// -1 another's; then the first token, as in the answer to an acquisition.
constexpr char kExtendBody[] = R"lua(
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now / 1000)
local answer, lists = {string.format('%.0f', now)}, {}
local values, trouble = look_all(KEYS)
if trouble then return trouble end
for i = 1, #KEYS do
  local token, ttl, value = ARGV[2 * i - 1], tonumber(ARGV[2 * i]), values[i]
  if not (ttl >= 1 or ttl == -1) then
    return redis.error_reply('ERR inventory_lock: the TTL is out of range')
  end
  local list = intents(value)
  lists[i] = find(list, token) and list
  answer[i + 1] = (value == token or lists[i]) and 1 or value and -1 or 0
end
local ours = {}
for i = 1, #KEYS do
  if answer[i + 1] == 1 then
    local token, ttl = ARGV[2 * i - 1], tonumber(ARGV[2 * i])
    if ttl > 0 and lists[i] then
      local before = lists[i][find(lists[i], token)][2]
      local refused, life =
        share(KEYS[i], lists[i], now_ms, '', token, math.max(before, now_ms + ttl))
      if refused then redis.call('PEXPIRE', KEYS[i], life) end  -- nobody else can write it either
    elseif ttl > 0 then
      redis.call('PEXPIRE', KEYS[i], ttl)
    end
    ours[#ours + 1] = KEYS[i]
  end
end
if #ours > 0 then redis.call('MGET', unpack(ours)) end
answer[#KEYS + 2] = ARGV[1]
return answer
)lua";

// The common release, as with the acquisition: a lock, its token, and nothing to be left behind.
constexpr char kPlainRelease[] = R"lua(
if #KEYS == 1 and redis.pcall('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  return 1
end
)lua";

// The same for many locks at once; where all are ours, it needs no function either. None of the
// tokens shares its key. Answer: of each as below.
constexpr char kPlainReleases[] = R"lua(
if #KEYS > 1 and #KEYS == #ARGV then
  local values, answer, ours = redis.pcall('MGET', unpack(KEYS)), {}, 0
  for i = 1, #KEYS do
    if values[i] == ARGV[i] then
      answer[i], ours = 1, ours + 1
    end
  end
  if ours == #KEYS then
    redis.call('DEL', unpack(KEYS))
    return answer
  end
end
)lua";
constexpr char kReleases[] = R"lua(
if #KEYS > 1 and #KEYS == #ARGV then
  local values, trouble = look_all(KEYS)
  if trouble then return trouble end
  local answer, ours = {}, {}
  for i = 1, #KEYS do
    if values[i] == ARGV[i] then ours[#ours + 1] = KEYS[i] end
    answer[i] = values[i] == ARGV[i] and 1 or values[i] and -1 or 0
  end
  if #ours > 0 then redis.call('DEL', unpack(ours)) end
  return answer
end
)lua";

// KEYS: lock; where a fence or a gap is to be left, fence and gap. ARGV: token; then fence, gap
// TTL, fence TTL. Answer: 1 ours, 0 absent, -1 another's. Freeing the key matters most and is
// allowed when memory is full; the fence and the gap are written as far as the server lets us.
constexpr char kReleaseBody[] = R"lua(
local value, trouble = look(KEYS[1])
if trouble then return trouble end
local gap_ms = tonumber(ARGV[3]) or 0
local list = intents(value)
if find(list, ARGV[1]) then
  local clock = redis.call('TIME')
  local refused = share(KEYS[1], list, clock[1] * 1000 + math.floor(clock[2] / 1000), ARGV[1])
  if refused then return refused end
  if gap_ms > 0 then redis.pcall('SET', KEYS[3], '1', 'PX', ARGV[3]) end
  return 1
end
if value ~= ARGV[1] then return value and -1 or 0 end
local fence = tonumber(ARGV[2]) or 0
local raised = fence < limit and fence > stored_fence(KEYS[2])
redis.call('DEL', KEYS[1])
if raised then redis.pcall('SET', KEYS[2], digits(fence), 'PX', ARGV[4]) end
if gap_ms > 0 then redis.pcall('SET', KEYS[3], '1', 'PX', ARGV[3]) end
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
// of its own. Of several clusters that share a key, it follows the first that waits.
constexpr char kWaitsBody[] = R"lua(
local own = {}
for i = 4, #ARGV do
  own[ARGV[i]] = true
  redis.call('SET', 'il:wait:' .. ARGV[i], ARGV[2], 'PX', ARGV[1])
end
local path, key = {}, KEYS[1]
for _ = 1, tonumber(ARGV[3]) do
  local value = look(key)
  local edge
  for _, one in ipairs(intents(value) or {{value}}) do
    local token = one[1]
    if type(token) == 'string' and #token <= 256 and string.sub(token, 1, 3) == 'pg:' then
      if own[token] then return {'cycle', unpack(path)} end
      edge = edge or look('il:wait:' .. token)
    end
  end
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

constexpr auto kAcquire = Join(kPlainAcquire, kLook, kLookAll, kFence, kShare, kAcquireBody);
constexpr auto kExtend = Join(kLook, kLookAll, kShare, kExtendBody);
constexpr auto kRelease =
    Join(kPlainRelease, kPlainReleases, kLook, kLookAll, kReleases, kFence, kShare, kReleaseBody);
constexpr auto kRaise = Join(kLook, kFence, kRaiseBody);
constexpr auto kWaits = Join(kLook, kShare, kWaitsBody);

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
