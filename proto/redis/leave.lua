-- leave.lua - drop my lease.   KEYS nodes, my lease as a node, my lease as a gateway   ARGV me   answers 1
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('SREM', KEYS[1], ARGV[1])
return 1
