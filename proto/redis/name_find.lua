-- name_find.lua - where a player is: the one of that nick, or anybody but one.
-- KEYS names   ARGV lease prefix of gateways, nick, not_nick   answers nick, value; nothing when there is none
local nick = ARGV[2]
if nick ~= '' then
  local value = redis.call('HGET', KEYS[1], nick)
  if value and gate_lives(ARGV[1], value) then
    return {nick, value}
  end
  return {}
end
-- Asked for more than there are, Redis gives all in the order in which they lie: begin anywhere, to be fair.
local some = redis.call('HRANDFIELD', KEYS[1], 64, 'WITHVALUES')
local n, from = #some / 2, tonumber(redis.call('TIME')[2])
for k = 1, n do
  local at = 2 * ((from + k) % n) + 1
  if some[at] ~= ARGV[3] and gate_lives(ARGV[1], some[at + 1]) then
    return {some[at], some[at + 1]}
  end
end
return {}
