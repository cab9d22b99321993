-- name_take.lua - take a nick that is free, mine, or held by a gateway without a lease; give up the old one with it.
-- KEYS names   ARGV gate, session, lease prefix of gateways, nick, place, old nick or ''
-- answers 1, or 0: somebody else has it
local gate, session, nick, old = ARGV[1], ARGV[2], ARGV[4], ARGV[6]
local value = redis.call('HGET', KEYS[1], nick)
if value and not held_by(value, gate, session) and gate_lives(ARGV[3], value) then
  return 0
end
if old ~= '' and old ~= nick then
  local before = redis.call('HGET', KEYS[1], old)
  if before and held_by(before, gate, session) then
    redis.call('HDEL', KEYS[1], old)
  end
end
redis.call('HSET', KEYS[1], nick, gate .. ' ' .. session .. ' ' .. ARGV[5])
return 1
