-- join_world.lua - compare the world's constants, or set those that it does not have.
-- KEYS world   ARGV cell_chunks, schema (0: not compared)   answers 1, or 0 when they differ: then nothing is set
local names = {'cell_chunks', 'schema'}
local have = redis.call('HMGET', KEYS[1], unpack(names))
for i = 1, 2 do
  if have[i] and ARGV[i] ~= '0' and number(have[i]) ~= number(ARGV[i]) then
    return 0
  end
end
for i = 1, 2 do
  if not have[i] and ARGV[i] ~= '0' then
    redis.call('HSET', KEYS[1], names[i], ARGV[i])
  end
end
return 1
