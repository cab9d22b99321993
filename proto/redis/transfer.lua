-- transfer.lua - flip cells from me to the node that follows them.
-- KEYS a cell each   ARGV me, target, then epoch n of each
-- A retry finds (target, epoch + 1): STALE, and the answer says whose it is.
local me, target, out = ARGV[1], ARGV[2], {}
for c, key in ipairs(KEYS) do
  local my_epoch, my_n = number(ARGV[2 * c + 1]), number(ARGV[2 * c + 2])
  local owner, epoch, n = read_cell(key)
  local answer = not_mine(owner, epoch, me, my_epoch)
  if not answer and n ~= my_n then
    answer = n < my_n and BEHIND or STALE
  end
  if not answer then
    owner, epoch, n, answer = target, my_epoch + 1, 0, TAKEN
    write_cell(key, owner, epoch, n)
  end
  say(out, answer, owner, epoch, n)
end
return out
