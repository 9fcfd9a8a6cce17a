// The main job only: one call with the AWS SDK for JavaScript v3.

import { CleanRoomsClient, PopulateIdMappingTableCommand } from "@aws-sdk/client-cleanrooms";

const cleanRooms = new CleanRoomsClient();

export async function handler(event) {
  const { membershipIdentifier, idMappingTableIdentifier, jobType } = event;
  const { idMappingJobId } = await cleanRooms.send(
    new PopulateIdMappingTableCommand({ membershipIdentifier, idMappingTableIdentifier, jobType }),
  );
  return { idMappingJobId };
}
