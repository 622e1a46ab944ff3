package kube

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"

	"github.com/lvme/lvme/driver"
)

const (
	// requestRate and requestBurst bound the requests a second to the API server.
	// Tombstones of a node with thousands of volumes must not take hours, and one
	// controller must not be what an API server is busy with.
	requestRate  = 50
	requestBurst = 100
)

// Connect makes the clients, with a kubeconfig file or, if it is "", as the pod
// that this process runs in. The API server need not be there yet.
func Connect(kubeconfig string) (Clients, error) {
	config, err := restConfig(kubeconfig)
	if err != nil {
		return Clients{}, err
	}
	config.UserAgent = "lvme-controller/" + driver.Version()
	config.QPS, config.Burst = requestRate, requestBurst
	snapshots, err := snapshotclient.NewForConfig(config)
	if err != nil {
		return Clients{}, fmt.Errorf("client for snapshots: %w", err)
	}
	// Smaller than JSON, and only what Kubernetes itself has is known in it.
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return Clients{}, fmt.Errorf("client for Kubernetes: %w", err)
	}
	return Clients{Kubernetes: client, Snapshots: snapshots}, nil
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("this is no pod with a service account, and there is no --kubeconfig: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	return config, nil
}
