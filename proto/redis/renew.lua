-- renew.lua - my lease, is this still the Redis that we knew, and who else lives.
-- KEYS world, nodes, my lease   ARGV me, is_node, ttl_ms, address, state, load, pool, generation_known, id_high,
-- lease prefix of nodes, most members to tell, instance
-- answers existed, evicts, generation, closed_ms, then id, address, state, load, pool of each living node
--
-- Redis may have come back without data, or older. Three things show it:
--   * its run_id is not the one in the world's hash (none there counts, too);
--   * somebody without a lease here knows a higher generation than it does;
--   * it calls itself fresh, but somebody without a lease here knows a generation: who renewed first after Redis was
--     emptied knew nothing, and so it was taken for a new world.
-- Then the generation grows, and claims are closed for two leases: long enough for every living owner to restore. A
-- world that nobody knows anything of is fresh: open at once, but watched for two leases (see claim.lua).
-- Who has a lease and met a higher generation in the store raises ours above it; nobody is missing, nothing closes.
local me, is_node, ttl, known = ARGV[1], ARGV[2] == '1', number(ARGV[3]), number(ARGV[8])
local now, run = now_ms(), run_id()
local w = redis.call('HMGET', KEYS[1], 'run_id', 'generation', 'closed_until', 'fresh_until', 'next_id')
local generation, closed_until = number(w[2] or 0), number(w[3] or 0)
local existed = redis.call('EXISTS', KEYS[3])

local changed = w[1] ~= run
local fresh = not w[1] and not w[2] and known == 0
local back = existed == 0 and known > 0 and (known > generation or number(w[4] or 0) > now)
if (changed and not fresh) or back then
  generation = math.max(generation, known) + 1
  closed_until = now + 2 * ttl
  redis.call('HSET', KEYS[1], 'run_id', run, 'generation', text(generation), 'closed_until', text(closed_until),
             'fresh_until', '0')
elseif fresh and changed then
  generation = 1
  redis.call('HSET', KEYS[1], 'run_id', run, 'generation', '1', 'fresh_until', text(now + 2 * ttl))
elseif known > generation then
  generation = known + 1
  redis.call('HSET', KEYS[1], 'generation', text(generation))
end
if number(ARGV[9]) >= number(w[5] or 1) then
  redis.call('HSET', KEYS[1], 'next_id', text(number(ARGV[9]) + 1))
end

redis.call('HSET', KEYS[3], 'address', ARGV[4], 'state', ARGV[5], 'load', ARGV[6], 'pool', ARGV[7],
           'instance', ARGV[12])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
if is_node then
  redis.call('SADD', KEYS[2], me)
end

local evicts = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)') ~= 'noeviction'
local out = {existed, evicts and 1 or 0, generation, math.max(0, closed_until - now)}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local m = redis.call('HMGET', ARGV[10] .. id, 'address', 'state', 'load', 'pool')
  if not m[1] then
    redis.call('SREM', KEYS[2], id)
  elseif #out < 4 + 5 * number(ARGV[11]) then
    out[#out + 1] = id
    for i = 1, 4 do
      out[#out + 1] = m[i]
    end
  end
end
return out
