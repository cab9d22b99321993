-- release.lua - give up cells whose journals are empty.
-- KEYS dirty, then cell and journal of each   ARGV me, then i,j epoch n of each
--
-- A cell that is not there is released: this is a retry, or Redis lost what its owner was about to give up anyway.
local me, out = ARGV[1], {}
for c = 1, (#KEYS - 1) / 2 do
  local key, journal, a = KEYS[2 * c], KEYS[2 * c + 1], 3 * c - 1
  local my_epoch, my_n = number(ARGV[a + 1]), number(ARGV[a + 2])
  local owner, epoch, n = read_cell(key)
  if owner == '' then
    say(out, TAKEN, '', 0, 0)
  else
    local answer = not_mine(owner, epoch, me, my_epoch)
    if not answer and n ~= my_n then
      answer = n < my_n and BEHIND or STALE
    end
    if not answer and redis.call('XLEN', journal) > 0 then
      answer = BUSY
    end
    if answer then
      say(out, answer, owner, epoch, n)
    else
      redis.call('DEL', key, journal)
      redis.call('SREM', KEYS[1], ARGV[a])
      say(out, TAKEN, '', 0, 0)
    end
  end
end
return out
