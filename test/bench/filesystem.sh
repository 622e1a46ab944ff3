# What lvme's mkfs and mount options are worth, on a thin volume and a thick one of LVM's own, with nothing else on the drive.
# One line for each: what, setting, and what was measured. The arguments are lvme's mount and mkfs options of ext4, and those of XFS.
set -euo pipefail
exec 3>&2 2>/run/bench-fs.log
trap 'cat /run/bench-fs.log >&3' ERR
drive=/dev/nvme0n1 vg=bench dir=/run/bench-fs
vgcreate -q $vg $drive >/dev/null
lvcreate -q -T -L 6g --chunksize 512k --poolmetadatasize 64m $vg/pool >/dev/null
lvcreate -q -n thick -L 2g $vg >/dev/null
mkdir -p $dir

now() { date +%s%N; }
since() { echo $((($(now) - $1) / 1000000)) ms; }
written() { awk '{print int($7 / 2)}' /sys/block/nvme0n1/stat; } # KiB
mapped() { dmsetup status $vg-thin | awk '{print int($4 / 2048)}'; }
fresh() { lvremove -q -f $vg/thin >/dev/null 2>&1 || true; lvcreate -q -n thin -V 16g --thinpool $vg/pool >/dev/null; }

# A new filesystem: how long mkfs takes, and what is mapped of 16 GiB after it and 30 s after it was mounted.
new() { # setting, filesystem, mount options, mkfs options
	fresh
	local name=$1 fs=$2 options=$3 began
	shift 3
	began=$(now)
	"mkfs.$fs" -q "$@" /dev/$vg/thin
	echo "new $fs|$name|mkfs $(since $began), then $(mapped) MiB mapped"
	mount -o "$options" /dev/$vg/thin $dir
	sleep 30
	sync -f $dir
	echo "new $fs|$name|30 s after the mount $(mapped) MiB mapped"
	umount $dir
}
new lvme ext4 "$1" $2
new "mkfs's own" ext4 defaults
new "all at once" ext4 defaults -E lazy_itable_init=0,lazy_journal_init=0
new lvme xfs "$3" $4
new "mkfs's own" xfs defaults

# Nothing is written later that mkfs left out.
declare -A plain=([ext4]=-Elazy_itable_init=0,lazy_journal_init=0 [xfs]=-f)

# Reading 2,000 files that were just written: what that writes.
for fs in ext4 xfs; do
	"mkfs.$fs" -q "${plain[$fs]}" /dev/$vg/thick
	mount /dev/$vg/thick $dir
	for ((i = 0; i < 2000; i++)); do echo $i >$dir/$i; done
	umount $dir
	for option in noatime relatime strictatime; do
		mount -o $option /dev/$vg/thick $dir
		before=$(written)
		cat $dir/[0-9]* >/dev/null
		umount $dir
		echo "2,000 reads $fs|$option|$(($(written) - before)) KiB written"
	done
done

# Deleting 2,000 files of 256 KiB from a thin volume.
for fs in ext4 xfs; do
	for option in nodiscard discard; do
		fresh
		"mkfs.$fs" -q "${plain[$fs]}" /dev/$vg/thin
		mount -o $option /dev/$vg/thin $dir
		for ((i = 0; i < 2000; i++)); do head -c 262144 /dev/zero >$dir/$i; done
		sync -f $dir
		began=$(now)
		rm $dir/[0-9]*
		sync -f $dir
		echo "2,000 deletions $fs|$option|$(since $began), then $(mapped) MiB mapped"
		began=$(now)
		fstrim $dir
		echo "2,000 deletions $fs|$option|fstrim $(since $began), then $(mapped) MiB mapped"
		umount $dir
	done
done
