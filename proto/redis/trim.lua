-- trim.lua - forget the batches of cells that the store has.
-- KEYS dirty, quarantine, then cell and journal of each   ARGV me, then i,j epoch n rows of each
--
-- rows, when not empty, are what the store refused for good: they go to quarantine in the same step, and once only,
-- however often the same trim comes.
local me, out = ARGV[1], {}
for c = 1, (#KEYS - 2) / 2 do
  local key, journal, a = KEYS[2 * c + 1], KEYS[2 * c + 2], 4 * c - 2
  local my_epoch, upto, rows = number(ARGV[a + 1]), number(ARGV[a + 2]), ARGV[a + 3]
  local owner, epoch, n = read_cell(key)
  local answer = not_mine(owner, epoch, me, my_epoch)
  if not answer and n < upto then
    answer = BEHIND
  end
  if not answer then
    local id = text(my_epoch) .. '-' .. text(upto)
    if rows ~= '' and redis.call('HGET', key, 'quarantined') ~= id then
      redis.call('XADD', KEYS[2], '*', 'cell', ARGV[a], 'epoch', text(my_epoch), 'n', text(upto), 'batch', rows)
      redis.call('HSET', key, 'quarantined', id)
    end
    redis.call('XTRIM', journal, 'MINID', text(my_epoch) .. '-' .. text(upto + 1))
    if redis.call('XLEN', journal) == 0 then
      redis.call('SREM', KEYS[1], ARGV[a])
    end
    answer = TAKEN
  end
  say(out, answer, owner, epoch, n)
end
return out
