-- ids.lua - a block of player ids, which are positive 31-bit numbers.   KEYS world   ARGV want   answers the first
-- After two thousand million joins the count starts again; nobody from the first round plays any more.
local want = number(ARGV[1])
local first = number(redis.call('HGET', KEYS[1], 'next_id') or 1)
if first < 1 or first + want - 1 > 2147483647 then
  first = 1
end
redis.call('HSET', KEYS[1], 'next_id', text(first + want))
return first
