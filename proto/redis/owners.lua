-- owners.lua - who owns cells, and does he live.   KEYS a cell each   ARGV lease prefix of nodes
local out = {}
for _, key in ipairs(KEYS) do
  local owner, epoch, n = read_cell(key)
  say(out, TAKEN, owner, epoch, n, owner ~= '' and redis.call('EXISTS', ARGV[1] .. owner) or 0)
end
return out
