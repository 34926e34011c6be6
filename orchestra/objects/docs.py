"""What the fields mean, in short: the text behind `explain`. Kubernetes' own pages say more."""

from collections.abc import Mapping

from orchestra.objects.docs_pod import POD_DOCS

_TYPED = {
    "apiVersion": "The version of the API that the object is written in: v1, apps/v1, discovery.k8s.io/v1.",
    "kind": "What the object is.",
    "metadata": "Name, namespace, labels, and what the server keeps about every object.",
}
_OBJECT = {
    **_TYPED,
    "spec": "What is wanted.",
    "status": "What was last seen. Written by the system, not by people.",
}

_META: Mapping[str, Mapping[str, str]] = {
    "ObjectMeta": {
        "": "What every object has, whatever its kind.",
        "annotations": "Values that tools keep with the object. They are not for selecting it.",
        "creationTimestamp": "When the server created the object.",
        "deletionGracePeriodSeconds": "How long the object may take to stop. Set with deletionTimestamp.",
        "deletionTimestamp": "When the object is to be gone. Set by a delete; nobody can take it back.",
        "finalizers": "Who has to do something before the object may go; it stays until the list is empty.",
        "generateName": "The beginning of a name; the server adds an ending that is not taken.",
        "generation": "A number that grows with every change of what is wanted.",
        "labels": "Values to select the object by, for services, controllers and people (-l).",
        "managedFields": "Which field was set by whom.",
        "name": "The object's name: unique for its kind in its namespace. It cannot be changed.",
        "namespace": "The namespace that the object is in; default if none is given. It cannot be changed.",
        "ownerReferences": "The objects that this one belongs to. It is deleted when none of them is left.",
        "resourceVersion": "The store's revision of the last change. Sent with an update, it must be the "
        "newest.",
        "selfLink": "Not used any more.",
        "uid": "Tells this object from all others ever, also of the same name.",
    },
    "OwnerReference": {
        "": "An object that another one belongs to, in the same namespace or in none.",
        "apiVersion": "The owner's API version.",
        "blockOwnerDeletion": "A foreground deletion of the owner waits for this object to be gone.",
        "controller": "The owner manages this object. At most one owner does.",
        "kind": "The owner's kind.",
        "name": "The owner's name.",
        "uid": "The owner's uid; another object of its name is no owner.",
    },
    "LabelSelector": {
        "": "Chooses objects by their labels. All its requirements must hold; an empty one "
        "chooses everything.",
        "matchExpressions": "Requirements with an operator.",
        "matchLabels": "Labels that must have exactly these values.",
    },
    "LabelSelectorRequirement": {
        "key": "The label.",
        "operator": "In, NotIn, Exists or DoesNotExist.",
        "values": "The values, for In and NotIn.",
    },
    "Condition": {
        "": "One aspect of an object's state.",
        "lastTransitionTime": "When the status last changed.",
        "message": "What it means, for people.",
        "observedGeneration": "The generation that it is about.",
        "reason": "Why, in one word, for programs.",
        "status": "True, False or Unknown.",
        "type": "Which aspect.",
    },
}

_WORKLOADS: Mapping[str, Mapping[str, str]] = {
    "Deployment": {
        **_OBJECT,
        "": "Keeps a number of pods running and replaces them step by step when their template changes.",
        "spec": "The pods wanted, and how one version of them gives way to the next.",
        "status": "How far the deployment has come.",
    },
    "DeploymentSpec": {
        "": "The pods wanted, and how one version of them gives way to the next.",
        "minReadySeconds": "How long a new pod must have been ready, without its containers ending, to be "
        "available. Default 0.",
        "paused": "Changes of the template are kept but not rolled out until this is false again.",
        "progressDeadlineSeconds": "A rollout without progress for so long is reported as failed. Default "
        "600.",
        "replicas": "How many pods are wanted. Default 1.",
        "revisionHistoryLimit": "How many old replica sets are kept to go back to. Default 10.",
        "selector": "Which pods are this deployment's. It must match the template's labels, and "
        "cannot change.",
        "strategy": "How old pods are replaced by new ones.",
        "template": "What each pod is made from. A change of it starts a rollout.",
    },
    "DeploymentStrategy": {
        "": "How old pods are replaced by new ones.",
        "rollingUpdate": "The bounds of a rolling update.",
        "type": "RollingUpdate (the default: a few at a time) or Recreate (all old ones end first).",
    },
    "RollingUpdateDeployment": {
        "": "The bounds of a rolling update.",
        "maxSurge": "How many pods more than wanted there may be: a number, or a percentage rounded up. "
        "Default 25%.",
        "maxUnavailable": "How many wanted pods may be missing: a number, or a percentage rounded down. "
        "Default 25%.",
    },
    "DeploymentStatus": {
        "": "How far the deployment has come.",
        "availableReplicas": "Pods that have been ready for minReadySeconds.",
        "collisionCount": "How often a replica set's name was taken by another template.",
        "conditions": "Available, Progressing, ReplicaFailure.",
        "observedGeneration": "The generation that the controller has seen.",
        "readyReplicas": "Pods that are ready.",
        "replicas": "Pods that there are, of all versions.",
        "terminatingReplicas": "Pods that are stopping.",
        "unavailableReplicas": "Pods that are still missing for the deployment to be whole.",
        "updatedReplicas": "Pods of the template as it is now.",
    },
    "ReplicaSet": {
        **_OBJECT,
        "": "Keeps a number of equal pods running. Mostly made by a Deployment.",
        "spec": "How many pods, which, and what they are made from.",
        "status": "How many there are.",
    },
    "ReplicaSetSpec": {
        "": "How many pods, which, and what they are made from.",
        "minReadySeconds": "How long a pod must have been ready to be available. Default 0.",
        "replicas": "How many pods are wanted. Default 1.",
        "selector": "Which pods are counted, by labels. It must match the template's labels.",
        "template": "What new pods are made from. Pods that are there already stay as they are.",
    },
    "ReplicaSetStatus": {
        "": "How many pods there are.",
        "availableReplicas": "Pods that have been ready for minReadySeconds.",
        "conditions": "ReplicaFailure, when pods cannot be made or deleted.",
        "fullyLabeledReplicas": "Pods that have all the labels of the template.",
        "observedGeneration": "The generation that the controller has seen.",
        "readyReplicas": "Pods that are ready.",
        "replicas": "Pods that there are.",
        "terminatingReplicas": "Pods that are stopping.",
    },
    "ReplicationController": {
        **_OBJECT,
        "": "Keeps a number of equal pods running; the older form of a ReplicaSet.",
        "spec": "How many pods, which, and what they are made from.",
        "status": "How many there are.",
    },
    "ReplicationControllerSpec": {
        "": "How many pods, which, and what they are made from.",
        "minReadySeconds": "How long a pod must have been ready to be available. Default 0.",
        "replicas": "How many pods are wanted. Default 1.",
        "selector": "The labels of the pods that are counted. Default: the template's labels.",
        "template": "What new pods are made from.",
    },
}

_CLUSTER: Mapping[str, Mapping[str, str]] = {
    "Namespace": {
        **_OBJECT,
        "": "A room for names: objects of the same name can be in different namespaces. Deleting it deletes "
        "everything in it.",
    },
    "NamespaceStatus": {
        "": "Whether the namespace can be used.",
        "conditions": "What its deletion waits for.",
        "phase": "Active, or Terminating while its content is deleted.",
    },
    "Node": {
        **_OBJECT,
        "": "A machine of the cluster, registered by its agent.",
        "spec": "How the node is to be used.",
        "status": "What the node has and how it fares, told by its agent.",
    },
    "NodeSpec": {
        "": "How the node is to be used.",
        "podCIDR": "The addresses of the node's pods.",
        "taints": "Keep away the pods that do not tolerate them.",
        "unschedulable": "No new pods are put on the node. Set by cordon.",
    },
    "NodeStatus": {
        "": "What the node has and how it fares.",
        "addresses": "Where the node is reached.",
        "allocatable": "What of the capacity is there for pods.",
        "capacity": "What the node has in all: cpu, memory, pods.",
        "conditions": "Ready, and what presses on the node.",
        "nodeInfo": "The operating system, the kernel, the architecture, the agent's version.",
    },
    "Taint": {
        "": "Keeps pods that do not tolerate it from a node.",
        "effect": "NoSchedule, PreferNoSchedule, or NoExecute, which also ends pods that run there.",
        "key": "The taint's name.",
        "timeAdded": "Since when it is there.",
        "value": "A value that tolerations may ask for.",
    },
    "Event": {
        **_TYPED,
        "": "Something that happened to an object. Kept for an hour.",
        "count": "How often it happened.",
        "firstTimestamp": "When it happened first.",
        "involvedObject": "What it happened to.",
        "lastTimestamp": "When it happened last.",
        "message": "What happened, for people.",
        "reason": "Why, in one word, for programs.",
        "source": "Who tells it.",
        "type": "Normal or Warning.",
    },
}

_TRAFFIC: Mapping[str, Mapping[str, str]] = {
    "Service": {
        **_OBJECT,
        "": "One stable address for a changing set of pods; connections are spread over the ready ones.",
        "spec": "Which pods, and on which ports.",
        "status": "Where the service is reached from outside.",
    },
    "ServiceSpec": {
        "": "Which pods, and on which ports.",
        "clusterIP": "The service's address inside the cluster; None for a service without one.",
        "externalIPs": "Further addresses that the service answers on.",
        "externalName": "The DNS name that a service of type ExternalName stands for.",
        "externalTrafficPolicy": "Cluster (pods of all nodes answer) or Local (only those of the node "
        "asked).",
        "internalTrafficPolicy": "Cluster or Local, for requests from inside.",
        "ports": "The ports that the service answers on.",
        "publishNotReadyAddresses": "Also name pods that are not ready.",
        "selector": "The labels of the pods that answer. Without it, endpoints are kept by somebody else.",
        "sessionAffinity": "ClientIP: the same client is answered by the same pod. None is the default.",
        "type": "ClusterIP, NodePort (also on a port of every node), LoadBalancer or ExternalName.",
    },
    "ServicePort": {
        "": "One port of a service.",
        "appProtocol": "What is spoken on it.",
        "name": "The port's name; needed when there are several.",
        "nodePort": "The port on every node, for NodePort; one is chosen if it is not given.",
        "port": "The port that clients use.",
        "protocol": "TCP (the default) or UDP.",
        "targetPort": "The pods' port: a number, or the name of a container's port. Default: the same "
        "as port.",
    },
    "EndpointSlice": {
        **_TYPED,
        "": "Who answers for a service right now. Kept by the system.",
        "addressType": "IPv4, IPv6 or FQDN.",
        "endpoints": "The pods, with their state.",
        "ports": "The ports that all endpoints of this slice answer on.",
    },
    "Endpoint": {
        "": "One pod that answers for a service.",
        "addresses": "Where it is reached.",
        "conditions": "Whether it is ready, still serving, or terminating.",
        "nodeName": "The node that it is on.",
        "targetRef": "The pod.",
    },
}

_ALL: Mapping[str, Mapping[str, str]] = {**_META, **_WORKLOADS, **_CLUSTER, **_TRAFFIC, **POD_DOCS}
_ANY = {
    "conditions": "Aspects of the state, each True, False or Unknown.",
    "lastTransitionTime": "When the status last changed.",
    "message": "What it means, for people.",
    "metadata": "Name, namespace, labels, and what the server keeps about every object.",
    "reason": "Why, in one word, for programs.",
    "status": "True, False or Unknown.",
}


def field_doc(message: str, field: str) -> str:
    """What a field of a message means, "" if nothing is written about it."""
    return _ALL.get(message, {}).get(field, "") or _ANY.get(field, "")


def message_doc(message: str) -> str:
    """What a message is, "" if nothing is written about it."""
    return _ALL.get(message, {}).get("", "")
