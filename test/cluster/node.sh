#!/bin/bash
# What is done inside a node of the cluster, from the making of its image to its joining of the cluster. It is run by
# the cluster from outside; nothing of it starts by itself.
#
#   node.sh prepare                once, when the image is made: settings, containerd
#   node.sh import ARCHIVE         an image into containerd's store; the archive is removed
#   node.sh join NUMBER NODES MAC  at every start of the node: network, containerd and kubelet
set -euo pipefail

here=/usr/local/lib/lvme-cluster
host=10.88.0.1

# settings are gone after a cold boot, and kept in the saved state.
settings() {
  local module
  for module in overlay br_netfilter veth bridge virtio_net nf_conntrack nf_nat nft_compat nft_chain_nat xt_nat xt_comment dm-thin-pool dm-snapshot dm-raid loop xfs; do
    modprobe -q "$module" || echo "no module $module"
  done
  # CNI's notes of pods that do not outlive a boot either. After a power cut they would be there in part.
  mkdir -p /var/lib/cni
  mountpoint -q /var/lib/cni || mount -t tmpfs cni /var/lib/cni
  sysctl -q -w net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 kernel.panic=10 vm.overcommit_memory=1
}

# keep runs a program in the background for as long as the machine runs, and starts it again when it ends.
keep() {
  local name=$1
  shift
  setsid bash -c 'while :; do "$@"; echo "$0 ended with $?" >&2; sleep 2; done' "$name" "$@" \
    >>"/var/log/$name.log" 2>&1 </dev/null &
}

start_containerd() {
  ctr version >/dev/null 2>&1 && return
  keep containerd containerd
  until ctr version >/dev/null 2>&1; do sleep 0.2; done
}

write_containerd_config() {
  mkdir -p /etc/containerd
  cat >/etc/containerd/config.toml <<'EOF'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10.2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "crun"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        SystemdCgroup = false
        BinaryName = "/usr/bin/crun"
EOF
}

write_kubelet_config() {
  cat >"$here/kubelet.yaml" <<'EOF'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /usr/local/lib/lvme-cluster/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
failSwapOn: false
resolvConf: ""
makeIPTablesUtilChains: false
enforceNodeAllocatable: []
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: "0%", nodefs.available: "0%", imagefs.available: "0%", nodefs.inodesFree: "0%", imagefs.inodesFree: "0%"}
runtimeRequestTimeout: 10m
serializeImagePulls: false
volumeStatsAggPeriod: 1m
syncFrequency: 15s # also how soon a Secret that was not there is mounted
EOF
}

prepare() {
  settings
  write_containerd_config
  write_kubelet_config
  mkdir -p /var/lib/kubelet /etc/cni/net.d
  start_containerd
}

import() {
  ctr -n k8s.io images import --local "$1"
  rm "$1"
  sync # what is unpacked shall survive a power cut
}

# find_card prints the name of the network card of an address, which may be just being plugged in.
find_card() {
  local file
  for _ in $(seq 300); do
    for file in /sys/class/net/*/address; do
      if [ "$(cat "$file" 2>/dev/null)" = "$1" ]; then
        basename "$(dirname "$file")"
        return
      fi
    done
    sleep 0.1
  done
  echo "no network card $1" >&2
  return 1
}

# network gives the node its address, the way to the other nodes' pods, and the API server under its service address,
# since there is no kube-proxy.
network() {
  local number=$1 nodes=$2 card peer chain
  card=$(find_card "$3")
  ip addr replace "10.88.0.$((10 + number))/16" dev "$card"
  ip link set "$card" up
  for peer in $(seq "$nodes"); do
    [ "$peer" = "$number" ] || ip route replace "10.244.$peer.0/24" via "10.88.0.$((10 + peer))"
  done
  for chain in OUTPUT PREROUTING; do
    iptables -t nat -A "$chain" -d 10.96.0.1/32 -p tcp --dport 443 -j DNAT --to-destination "$host:6443"
  done
  cat >/etc/cni/net.d/10-cluster.conflist <<EOF
{"cniVersion": "1.0.0", "name": "cluster", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.$number.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
}

join() {
  settings
  network "$1" "$2" "$3"
  start_containerd
  keep kubelet kubelet --config="$here/kubelet.yaml" --kubeconfig="$here/kubeconfig" --hostname-override="$(hostname)" \
    --node-ip="10.88.0.$((10 + $1))" --v=1
}

"$@"
