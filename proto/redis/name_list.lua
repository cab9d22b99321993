-- name_list.lua - who plays, at most so many; forgets those whose gateway has no lease.
-- KEYS names   ARGV lease prefix of gateways, most to tell   answers how many there are, then nick, value of each
local lives, out = {}, {0}
local some = redis.call('HRANDFIELD', KEYS[1], number(ARGV[2]), 'WITHVALUES')
for k = 1, #some, 2 do
  local gate = string.match(some[k + 1], '^(%x+) ') or ''
  if lives[gate] == nil then
    lives[gate] = gate_lives(ARGV[1], some[k + 1]) or false
  end
  if lives[gate] then
    out[#out + 1] = some[k]
    out[#out + 1] = some[k + 1]
  else
    redis.call('HDEL', KEYS[1], some[k])
  end
end
out[1] = redis.call('HLEN', KEYS[1])
return out
