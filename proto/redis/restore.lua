-- restore.lua - Redis went back: its owner writes a cell and its unflushed batches back, under their old ids.
-- KEYS dirty, cell, journal   ARGV me, i,j, epoch, n, then epoch, n, bytes of each batch   answers TAKEN or STALE
--
-- Batches of lower epochs that Redis still has are kept, as the store may lack them; those of the cell's own epoch are
-- replaced. A stream refuses ids below its last one even when it is empty, so it is made anew, in order.
local me, my_epoch, my_n = ARGV[1], number(ARGV[3]), number(ARGV[4])
local owner, epoch, n = read_cell(KEYS[2])
if owner ~= '' and (epoch > my_epoch or (epoch == my_epoch and (owner ~= me or n > my_n))) then
  return STALE
end

local batches, mine = {}, {}
local function add(e, i, bytes)
  local id = text(e) .. '-' .. text(i)
  if not mine[id] then
    mine[id] = true
    batches[#batches + 1] = {epoch = number(e), n = number(i), id = id, bytes = bytes}
  end
end
for a = 5, #ARGV, 3 do
  add(ARGV[a], ARGV[a + 1], ARGV[a + 2])
end
for _, entry in ipairs(redis.call('XRANGE', KEYS[3], '-', '(' .. text(my_epoch) .. '-0')) do
  local e, i = string.match(entry[1], '^(%d+)-(%d+)$')
  add(e, i, entry[2][2])
end
table.sort(batches, function(a, b)
  return a.epoch < b.epoch or (a.epoch == b.epoch and a.n < b.n)
end)
local last = batches[#batches]
if last and (last.epoch > my_epoch or (last.epoch == my_epoch and last.n > my_n)) then
  error('a batch above the cell that is restored')
end

redis.call('DEL', KEYS[3])
for _, b in ipairs(batches) do
  redis.call('XADD', KEYS[3], b.id, 'batch', b.bytes)
end
write_cell(KEYS[2], me, my_epoch, my_n)
redis.call(last and 'SADD' or 'SREM', KEYS[1], ARGV[2])
return TAKEN
