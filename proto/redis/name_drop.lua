-- name_drop.lua - give a nick up, if it is mine.   KEYS names   ARGV gate, session, nick   answers 1
local value = redis.call('HGET', KEYS[1], ARGV[3])
if value and held_by(value, ARGV[1], ARGV[2]) then
  redis.call('HDEL', KEYS[1], ARGV[3])
end
return 1
