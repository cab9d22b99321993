-- name_places.lua - where my players are.   KEYS names   ARGV gate, then session, nick, place of each   answers 1
for a = 2, #ARGV, 3 do
  local value = redis.call('HGET', KEYS[1], ARGV[a + 1])
  if value and held_by(value, ARGV[1], ARGV[a]) then
    redis.call('HSET', KEYS[1], ARGV[a + 1], ARGV[1] .. ' ' .. ARGV[a] .. ' ' .. ARGV[a + 2])
  end
end
return 1
