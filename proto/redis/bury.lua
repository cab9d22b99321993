-- bury.lua - drop the lease of a node that refused a connection, once a minute: one buried alive renews, and is left alone.
-- KEYS nodes, its lease, its grave   ARGV its id   answers 1, or 0: it has no lease, or was buried within the last minute
if redis.call('EXISTS', KEYS[3]) == 1 then
  return 0
end
redis.call('SREM', KEYS[1], ARGV[1])
if redis.call('DEL', KEYS[2]) == 0 then
  return 0
end
redis.call('SET', KEYS[3], '1', 'EX', 60)
return 1
