-- append.lua - journal batch n of cells, if Redis believes what their writer believes.
-- KEYS dirty, then cell and journal of each   ARGV me, then i,j epoch n batch of each
local me, out = ARGV[1], {}
for c = 1, (#KEYS - 1) / 2 do
  local key, journal, a = KEYS[2 * c], KEYS[2 * c + 1], 4 * c - 2
  local my_epoch, my_n = number(ARGV[a + 1]), number(ARGV[a + 2])
  local owner, epoch, n = read_cell(key)
  local answer = not_mine(owner, epoch, me, my_epoch)
  if not answer then
    if n >= my_n then
      answer = BEFORE -- a retry
    elseif n < my_n - 1 then
      answer = BEHIND
    else
      redis.call('XADD', journal, text(my_epoch) .. '-' .. text(my_n), 'batch', ARGV[a + 3])
      redis.call('HSET', key, 'n', text(my_n))
      redis.call('SADD', KEYS[1], ARGV[a])
      answer, n = TAKEN, my_n
    end
  end
  say(out, answer, owner, epoch, n)
end
return out
