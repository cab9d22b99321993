-- join_world.lua - compare the world's constants, or set those that it does not have; is our schema near enough to its?
-- KEYS world   ARGV cell_chunks, schema (0: not compared), how far apart two schemas may be
-- answers 1 or 0 (they do not fit: then nothing is set), and what the world has: cell_chunks, its newest schema
--
-- newest is the highest schema that a process joined with; it never goes down. So processes are replaced one by one, and
-- back again, while two that could not talk to each other never meet. schema is the oldest one that may join: schema 1
-- compares it with its own for equality, and sets it where there is none.
local have = redis.call('HMGET', KEYS[1], 'cell_chunks', 'schema', 'newest')
local chunks, mine, apart = number(ARGV[1]), number(ARGV[2]), number(ARGV[3])
local has_chunks, newest = number(have[1] or 0), number(have[3] or have[2] or 0)
if (has_chunks > 0 and chunks > 0 and chunks ~= has_chunks) or
  (newest > 0 and mine > 0 and math.abs(mine - newest) > apart) then
  return {0, has_chunks, newest}
end
if has_chunks == 0 and chunks > 0 then
  has_chunks = chunks
  redis.call('HSET', KEYS[1], 'cell_chunks', text(chunks))
end
if mine > 0 and (mine > newest or not have[3]) then
  newest = math.max(mine, newest)
  redis.call('HSET', KEYS[1], 'newest', text(newest), 'schema', text(math.max(newest - apart, 1)))
end
return {1, has_chunks, newest}
